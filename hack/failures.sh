#!/usr/bin/env bash
# What failed in a log of `go test`, without what the tests' processes logged in between:
#   hack/failures.sh dist/test.log
set -euo pipefail
echo "What failed:"
awk '
  /^ *--- FAIL|^FAIL\t|^panic:|^fatal error:|^WARNING: DATA RACE|^# .*\[.*\.test\]/ {left = 40; print substr($0, 1, 600); next}
  /^(ok|\?) |^(ok|\?)\t|^(---|===) |^FAIL$|^PASS$|^exit status/ {left = 0}
  /^time=|^ *\{"|^[EIW][0-9][0-9][0-9][0-9] / {next}
  left > 0 {left--; print substr($0, 1, 600)}
' "$1"
