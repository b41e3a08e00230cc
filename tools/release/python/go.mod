module python

go 1.25

// Of python-build-standalone, for any Linux with glibc 2.17 or newer.
require github.com/kluctl/go-embed-python v0.0.0-3.14.6-20260610-1
