#!/usr/bin/env bash
# A second VersityGW. The keys of the first are not valid here.
export STOWAGE_TEST_ACCESS_KEY_ID=other
exec "$(dirname "${BASH_SOURCE[0]}")/versitygw.sh"
