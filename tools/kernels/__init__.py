"""`make test-kernels`: the kernels that distributions ship, each booted in a virtual machine and traced on.

matrix → archive → unpacked → ahead, roots → machine → results → page
"""
