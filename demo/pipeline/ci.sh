#!/bin/sh
# The job `build` of the project shop/checkout: five steps, as a CI system would run them.
set -eu

step() { printf '  %-9s' "$1"; }

step checkout
mkdir checkout
cd checkout
curl -fsS http://git.example/shop/checkout.tar | tar -x
echo "$(find . -type f | wc -l) files from git.example"

step lint
python3 -m tabnanny cart.py
echo "ok"

step install
python3 install.py

step test
python3 test_cart.py

step publish
tar -cf ../checkout.tar .
curl -fsS -T ../checkout.tar http://mirror.example/upload/
echo "checkout.tar to mirror.example"
