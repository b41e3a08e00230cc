#!/usr/bin/env bash
# Prepares every server that telemetry goes to, and prints where each is, a line each: NAME PATH.
#
#   tools/stack/servers.sh [NAME…]      otelcol jaeger prometheus promtool alertmanager amtool; default: all
#
# It takes minutes the first time (the Collector, Jaeger and Alertmanager are built), then it returns at once. Prometheus
# is the one on PATH if it is recent enough. Nothing is installed or started.
# Debian 12 and 13, Ubuntu 24.04.
set -Eeuo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
names=("$@")
((${#names[@]})) || names=(otelcol jaeger prometheus promtool alertmanager amtool)

packaged=
for name in "${names[@]}"; do
	case $name in
	otelcol | jaeger | alertmanager)
		path=$("$here/build.sh" "$name")
		echo "$name $path"
		;;
	amtool)
		path=$("$here/build.sh" alertmanager)
		echo "$name ${path%/*}/$name"
		;;
	prometheus | promtool)
		[[ $packaged ]] || packaged=$("$here/prometheus.sh")
		grep "^$name " <<<"$packaged"
		;;
	*)
		echo "stack: there is no server $name" >&2
		exit 2
		;;
	esac
done
