#!/usr/bin/env bash
# Packs the function into one file: build/function/index.cjs beside this script, or index.cjs in another folder.
#
#     infra/aws/bundle.sh [FOLDER]
#
# A single file, since a cold start that looks for hundreds takes longer; CommonJS, since libraries in it call `require`;
# names are kept, so that a stack in the log can be read. Needs what `npm ci` installs.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:-$here/build/function}

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
cd "$here/../.."
npx --no-install esbuild src/runtimes/lambda.ts --bundle --platform=node --target=node24 --format=cjs \
  --minify-whitespace --minify-syntax --log-level=warning --outfile="$folder/index.cjs"
echo "packed: $folder/index.cjs, $(wc -c <"$folder/index.cjs") bytes"
