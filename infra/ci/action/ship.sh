#!/usr/bin/env bash
# Sends a tarball, or images of the local Docker or Podman, to a Stowage service. Needs curl and jq.
#
# The service says which size it takes in one request. A larger tarball goes in parts, four at a time.
# An identity token of GitHub lives for five minutes, so each request gets a new one. Parts need none: their URLs are secret.
set -euo pipefail

url=${INPUT_URL:-}
url=${url%/}
folder=$(mktemp -d "${RUNNER_TEMP:-/tmp}/stowage-XXXXXX")
answer=$folder/answer
token=
trap 'rm -rf "$folder"' EXIT

# Shows a message as an error of the job. What a service says is in it, so it may not look like a command to the runner.
fail() {
  local message=${1//%/%25}
  message=${message//$'\r'/%0D}
  printf '::error title=Stowage::%s\n' "${message//$'\n'/%0A}"
  exit 1
}

find_token() {
  token=${INPUT_TOKEN:-}
  if [ -z "$token" ]; then
    [ -n "${ACTIONS_ID_TOKEN_REQUEST_URL:-}" ] ||
      fail 'Cannot get an identity token: the job needs "permissions: id-token: write". Pull requests from forks never get it'
    curl --silent --show-error --retry 3 --output "$answer" --get --data-urlencode "audience=${INPUT_AUDIENCE:-$url}" \
      --header @- "$ACTIONS_ID_TOKEN_REQUEST_URL" <<<"Authorization: Bearer ${ACTIONS_ID_TOKEN_REQUEST_TOKEN:-}" ||
      fail 'Cannot get an identity token: GitHub does not answer'
    token=$(jq -er .value "$answer") || fail "Cannot get an identity token: GitHub answers $(head -c 500 "$answer")"
  fi
  if [ "${GITHUB_ACTIONS:-}" = true ]; then echo "::add-mask::$token"; fi
}

# ask METHOD PATH [CURL'S OPTIONS]: leaves the body in $answer. A refusal ends the job.
ask() {
  local method=$1 path=$2 status
  shift 2
  find_token
  status=$(curl --silent --show-error --retry 3 --retry-all-errors --output "$answer" --write-out '%{http_code}' \
    --request "$method" --header @- "$@" "$url/$path" <<<"Authorization: Bearer $token") ||
    fail "Cannot reach $url: see curl's message above"
  case $status in
    2??) return ;;
    401 | 403) show_claims ;;
  esac
  fail "$url answered $status $(jq -r '.errors[0] | "\(.code): \(.message)"' "$answer" 2>/dev/null || head -c 500 "$answer")"
}

# What a rule of STOWAGE_OIDC can test. Without its signature a token is no secret.
show_claims() {
  echo "The claims of the job's identity token are"
  jq -Rr 'split(".")[1] | gsub("-"; "+") | gsub("_"; "/") | . + "=" * ((4 - length % 4) % 4) | @base64d | fromjson
    | to_entries[] | "  \(.key): \(.value)"' <<<"$token" 2>/dev/null || echo '  not to be read: it is no identity token'
}

# send_part OFFSET SIZE URL
send_part() {
  tail -c "+$1" "$tarball" | head -c "$2" |
    curl --silent --show-error --fail --retry 5 --retry-all-errors --request PUT --data-binary @- "$3"
}

case $url in
  *@*) fail 'The input "url" has a user or a token in it: expected https://stowage.example, and the token as the input "token"' ;;
  https://?* | http://?*) ;;
  *) fail "Cannot use \"$url\" as the input \"url\": expected the service, such as https://stowage.example" ;;
esac
case ${INPUT_FILE:+file}${INPUT_IMAGE:+image} in
  file)
    tarball=$INPUT_FILE
    [ -f "$tarball" ] || fail "There is no file $tarball"
    ;;
  image)
    tarball=$folder/images.tar
    engine=docker
    command -v docker >/dev/null || engine=podman
    read -r -d '' -a images <<<"$INPUT_IMAGE" || true
    "$engine" save --output "$tarball" -- "${images[@]}" || fail "Cannot save ${images[*]}: see the message of $engine above"
    ;;
  *) fail 'Expected one of the inputs "image" and "file"' ;;
esac

name=$(jq -nr --arg name "${INPUT_NAME:-}" '$name | @uri | gsub("%2F"; "/") | gsub("%3A"; ":")')
size=$(($(wc -c <"$tarball")))
json=(--header 'Content-Type: application/json')

ask POST v1/blobs/missing "${json[@]}" --data '{"digests":[]}'
direct_bytes=$(jq -er .directBytes "$answer") || fail "$url answers, but is no Stowage"
if [ "$size" -le "$direct_bytes" ]; then
  echo "Sending $size bytes to $url"
  ask PUT "v1/load${name:+/$name}" --upload-file "$tarball"
else
  ask POST v1/uploads "${json[@]}" --data "{\"size\":$size}"
  upload=$(jq -er .id "$answer")
  jq -r '.parts[] | select(.present | not) | .offset + 1, .size, .url' "$answer" >"$folder/parts"
  echo "Sending $size bytes to $url in $(($(wc -l <"$folder/parts") / 3)) parts"
  export tarball
  export -f send_part
  xargs -n 3 -P 4 bash -c 'send_part "$@"' part <"$folder/parts" || fail "Cannot send a part: see curl's message above"
  ask POST "v1/uploads/$upload/load${name:+/$name}"
fi

jq -e '.images[0].digest | test("^sha256:[0-9a-f]{64}$")' "$answer" >/dev/null || fail "$url answered without an image"
jq -r '.images[0] as $first
  | "digest=\($first.digest)",
    "reference=\($first.pull // "" | ltrimstr("docker pull ") | gsub("\\s"; "") | sub("@.*$|:[^:/]*$"; "@\($first.digest)"))",
    "images=\(.images | tojson)"' "$answer" >>"$GITHUB_OUTPUT"
jq -r '"| image | digest | |", "| --- | --- | --- |",
  (.images[] | "| `\(.repository):\(.reference)` | `\(.digest)` | \(.status) |"),
  "", "\(.totals.written) blobs (\(.bytes.written) bytes) are new, \(.totals.present) were there."' \
  "$answer" >>"$GITHUB_STEP_SUMMARY"
