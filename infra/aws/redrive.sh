#!/usr/bin/env bash
# Sends the events of the queue FailedEvents to the function again, and takes them out of the queue.
#
#     infra/aws/redrive.sh [STACK]
#
# SQS's own redrive does not take a queue that Lambda has filled. An event that fails again comes back into the queue some
# three minutes later. Needs jq and version 2 of the AWS CLI, with the rights sqs:ReceiveMessage, sqs:DeleteMessage,
# lambda:InvokeFunction and cloudformation:DescribeStacks.
set -euo pipefail

stack=${1:-stowage}
outputs=$(aws cloudformation describe-stacks --stack-name "$stack" --query 'Stacks[0].Outputs' --output json)
output() { jq -er --arg key "$1" '.[] | select(.OutputKey == $key).OutputValue' <<<"$outputs"; }
queue=$(output FailedEvents)
function=$(output Function)

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
count=0
while true; do
  aws sqs receive-message --queue-url "$queue" --wait-time-seconds 2 --output json >"$folder/answer"
  [ -s "$folder/answer" ] || break # the CLI prints nothing for an empty answer
  receipt=$(jq -er '.Messages[0].ReceiptHandle' "$folder/answer")
  jq -e '.Messages[0].Body | fromjson | .requestPayload // error("Cannot send an event again: found none in the message")' \
    "$folder/answer" >"$folder/event"
  aws lambda invoke --function-name "$function" --invocation-type Event --cli-binary-format raw-in-base64-out \
    --payload "file://$folder/event" "$folder/result" >/dev/null
  aws sqs delete-message --queue-url "$queue" --receipt-handle "$receipt"
  count=$((count + 1))
done
echo "sent again: $count"
