#!/usr/bin/env bash
# Makes /usr/local/bin/chromium, which runs Debian's in a root of its own: for Ubuntu, whose Chromium is a snap, and opens
# no file of /tmp. It shows the same files under the same names, those of the distribution aside.
#
#   tools/debian-chromium.sh
#
# The root is one of tools/debian-root.sh's; where it was deleted, this makes it again. What somebody else has put there
# stays.
set -euo pipefail

readonly target=/usr/local/bin/chromium mark='made by tools/debian-chromium.sh'
if [[ -e $target ]] && ! grep -qF "$mark" "$target"; then
    echo "debian-chromium: $target is somebody's own, and stays" >&2
    exit
fi

# dbus-x11: debootstrap knows no virtual packages, and one that chromium needs wants a session bus.
root=$("$(dirname "${BASH_SOURCE[0]}")/debian-root.sh" bookworm chromium dbus-x11 fonts-dejavu-core)
made=$(mktemp /usr/local/bin/.chromium.XXXXXX)
cat >"$made" <<END
#!/bin/sh
# Debian's Chromium, $mark of ci-egress-exporter.
exec unshare --mount --propagation private sh -euc '
    for shared in dev home proc root run sys tmp; do
        mount --rbind "/\$shared" "\$0/\$shared"
    done
    exec chroot "\$0" chromium "\$@"' '$root' "\$@"
END
chmod 0755 "$made"
mv "$made" "$target"
