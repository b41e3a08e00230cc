#!/usr/bin/env bash
# Prepares every server that telemetry goes to, and prints where each is, a line each: NAME PATH.
#
#   tools/stack/servers.sh [NAME…]      otelcol jaeger prometheus promtool alertmanager amtool; default: all
#
# Minutes the first time (the Collector and Jaeger are built), then at once. Prometheus and Alertmanager are
# those on PATH if they are recent enough. Nothing is installed or started.
# Debian 12 and 13, Ubuntu 24.04.
set -Eeuo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
names=("$@")
((${#names[@]})) || names=(otelcol jaeger prometheus promtool alertmanager amtool)

packaged=
for name in "${names[@]}"; do
	case $name in
	otelcol | jaeger)
		path=$("$here/build.sh" "$name")
		echo "$name $path"
		;;
	prometheus | promtool | alertmanager | amtool)
		[[ $packaged ]] || packaged=$("$here/prometheus.sh")
		grep "^$name " <<<"$packaged"
		;;
	*)
		echo "stack: there is no server $name" >&2
		exit 2
		;;
	esac
done
