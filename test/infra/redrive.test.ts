/** Sends failed events to the function again, with a stand-in for the AWS CLI. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { describeIfFound } from "../support/requirement.ts";
import { newFolder } from "../support/run-stowage.ts";
import { missingTools, toolsPath } from "../tools/find-tool.ts";
import { runTool } from "../tools/run-tool.ts";
import { projectFolder } from "./infra-tools.ts";

describeIfFound("infra/aws/redrive.sh", missingTools(["bash", "jq"]), () => {
  it("sends each event to the function as it was, and takes it out of the queue only then", async () => {
    const { calls, output } = await redrive([{ Records: [{ s3: "one" }] }, { stowage: "gc" }]);
    expect(output).toBe("sent again: 2\n");
    expect(calls).toEqual([
      "describe the-stack",
      "receive the-queue",
      'invoke the-function Event {"Records":[{"s3":"one"}]}',
      "delete the-queue receipt-0",
      "receive the-queue",
      'invoke the-function Event {"stowage":"gc"}',
      "delete the-queue receipt-1",
      "receive the-queue",
    ]);
  });

  it("leaves a message in the queue that holds no event", async () => {
    await expect(redrive([undefined])).rejects.toThrow("Cannot send an event again: found none in the message");
  });

  /** Runs it with a stand-in for the AWS CLI, whose queue has these events. */
  async function redrive(events: readonly unknown[]): Promise<{ calls: string[]; output: string }> {
    const folder = await newFolder();
    await writeFile(join(folder, "aws"), standInForAws, { mode: 0o755 });
    for (const [i, requestPayload] of events.entries()) {
      const message = { ReceiptHandle: `receipt-${i}`, Body: JSON.stringify({ version: "1.0", requestPayload }) };
      await writeFile(join(folder, `message-${i}`), JSON.stringify({ Messages: [message] }));
    }
    const env = { PATH: `${folder}:${toolsPath}`, STAND_IN: folder };
    const output = await runTool(join(projectFolder, "infra/aws/redrive.sh"), ["the-stack"], { env });
    return { output, calls: (await readFile(join(folder, "calls"), "utf8")).trimEnd().split("\n") };
  }
});

/** Answers with the messages in $STAND_IN, and writes down what it was asked for. */
const standInForAws = `#!/usr/bin/env bash
set -euo pipefail
service=$1 action=$2
shift 2
while [ $# -gt 0 ]; do
  case $1 in
    --queue-url | --function-name | --stack-name) target=$2 && shift ;;
    --receipt-handle) receipt=$2 && shift ;;
    --invocation-type) type=$2 && shift ;;
    --payload) payload=\${2#file://} && shift ;;
    --output | --query | --wait-time-seconds | --cli-binary-format) shift ;;
    */result) ;;
    *) echo "what is $1?" >&2 && exit 2 ;;
  esac
  shift
done
calls=$STAND_IN/calls
case "$service $action" in
  "cloudformation describe-stacks")
    echo "describe $target" >>"$calls"
    echo '[{"OutputKey":"Url"},{"OutputKey":"FailedEvents","OutputValue":"the-queue"},{"OutputKey":"Function","OutputValue":"the-function"}]' ;;
  "sqs receive-message")
    echo "receive $target" >>"$calls"
    for message in "$STAND_IN"/message-*; do
      if [ -f "$message" ]; then cat "$message" && break; fi
    done ;;
  "sqs delete-message")
    echo "delete $target $receipt" >>"$calls"
    rm "$STAND_IN/message-\${receipt#receipt-}" ;;
  "lambda invoke")
    echo "invoke $target $type $(jq -c . "$payload")" >>"$calls" ;;
esac
`;
