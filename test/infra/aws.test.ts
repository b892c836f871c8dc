import { readFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { beforeAll, describe, expect, it } from "vitest";
import { incomingPrefix, stagingPrefix } from "../../src/layout/keys.ts";
import { describeIfFound } from "../support/requirement.ts";
import { newFolder } from "../support/run-stowage.ts";
import { runTool } from "../tools/run-tool.ts";
import { at, findProgram, listAt, missingPrograms, projectFolder, readYaml, textsOf } from "./infra-tools.ts";
import { makeToken } from "./make-token.ts";

const template = "infra/aws/template.yaml";

describeIfFound(template, missingPrograms("cfn-lint", "infra-python"), () => {
  let stack: unknown;
  beforeAll(async () => {
    [stack] = await readYaml(template);
  });
  const resource = (...path: readonly (string | number)[]): unknown => at(stack, "Resources", ...path);
  const allowed = (): unknown[] =>
    listAt(stack, "Resources", "Role", "Properties", "Policies").flatMap((policy) =>
      listAt(policy, "PolicyDocument", "Statement"),
    );
  const allowedCopies = (): unknown[] =>
    listAt(stack, "Resources", "CopyPolicy", "Properties", "PolicyDocument", "Statement");

  it("passes cfn-lint", async () => {
    // W3002 says that the code is a folder, which `aws cloudformation package` packs.
    await runTool("cfn-lint", ["--ignore-checks", "W3002", "--", join(projectFolder, template)]);
  });

  it("allows the function nothing but what it does, each by name", () => {
    const statements = allowed();
    expect(statements.flatMap((statement) => textsOf(at(statement, "Action"))).toSorted()).toEqual([
      "logs:CreateLogStream",
      "logs:PutLogEvents",
      "s3:AbortMultipartUpload",
      "s3:DeleteObject",
      "s3:GetObject",
      "s3:ListBucket",
      "s3:PutObject",
      "sqs:SendMessage",
    ]);
    expect(statements.every((statement) => at(statement, "Effect") === "Allow")).toBe(true);
    expect(statements.map((statement) => at(statement, "Resource"))).toEqual([
      { "Fn::Sub": "arn:${AWS::Partition}:s3:::${AWS::StackName}-${AWS::AccountId}-${AWS::Region}/images/*" },
      { "Fn::Sub": "arn:${AWS::Partition}:s3:::${AWS::StackName}-${AWS::AccountId}-${AWS::Region}" },
      { "Fn::GetAtt": ["LogGroup", "Arn"] },
      { "Fn::GetAtt": ["FailedEvents", "Arn"] },
    ]);
    expect(resource("Role", "Properties", "ManagedPolicyArns")).toBeUndefined();
  });

  it.each([
    ["docs/deploying.md", true],
    ["infra/aws/README.md", true],
    ["infra/deno-deploy.md", false],
    ["infra/kubernetes.md", false],
  ])("asks for the rights of the bucket that %s names", async (page, namesCopies) => {
    const text = await readFile(join(projectFolder, page), "utf8");
    const named = [...new Set(text.match(/(?<=`)s3:[A-Z]\w+(?=`)/g) ?? [])].toSorted();
    const statements = [...allowed(), ...(namesCopies ? allowedCopies() : [])];
    const actions = statements.flatMap((statement) => textsOf(at(statement, "Action")));
    expect(named).toEqual([...new Set(actions.filter((action) => action.startsWith("s3:")))].toSorted());
  });

  it("copies to targets if the stack has some, with rights in their buckets alone", () => {
    const variables = resource("Function", "Properties", "Environment", "Variables");
    for (const [name, parameter] of [
      ["STOWAGE_COPY_TARGETS", "CopyTargets"],
      ["STOWAGE_COPY_AFTER_LOAD", "CopyAfterLoad"],
    ]) {
      const expected = { "Fn::If": ["HasCopyTargets", { Ref: parameter }, { Ref: "AWS::NoValue" }] };
      expect(at(variables, String(name))).toEqual(expected);
    }
    expect(resource("CopyPolicy", "Condition")).toBe("HasCopyTargets");
    expect(resource("CopyPolicy", "Properties", "Roles")).toEqual([{ Ref: "Role" }]);
    const joined = { Joined: { "Fn::Join": ["/images/*,", { Ref: "CopyBucketArns" }] } };
    expect(allowedCopies().map((statement) => at(statement, "Resource"))).toEqual([
      { "Fn::Split": [",", { "Fn::Sub": ["${Joined}/images/*", joined] }] },
      { Ref: "CopyBucketArns" },
    ]);
    const pattern = new RegExp(String(at(stack, "Parameters", "CopyTargets", "AllowedPattern")));
    for (const text of ["", '{"us":"s3://bucket/images?region=us-east-1"}']) expect(text).toMatch(pattern);
    expect("s3://bucket/images").not.toMatch(pattern);
  });

  it("spells the bucket's name alike everywhere", () => {
    const name = "${AWS::StackName}-${AWS::AccountId}-${AWS::Region}";
    expect(resource("Bucket", "Properties", "BucketName")).toEqual({ "Fn::Sub": name });
    const source = resource("IncomingPermission", "Properties", "SourceArn");
    expect(source).toEqual({ "Fn::Sub": `arn:\${AWS::Partition}:s3:::${name}` });
    const store = resource("Function", "Properties", "Environment", "Variables", "STOWAGE_STORE");
    expect(store).toEqual({ "Fn::Sub": `s3://${name}/images` });
  });

  it("expires what is unfinished, where the service keeps it", () => {
    const rules = listAt(stack, "Resources", "Bucket", "Properties", "LifecycleConfiguration", "Rules");
    expect(rules.map(({ Id: _id, ...rule }) => rule)).toEqual([
      { Status: "Enabled", AbortIncompleteMultipartUpload: { DaysAfterInitiation: 1 } },
      { Status: "Enabled", Prefix: `images/${stagingPrefix}`, ExpirationInDays: 2 },
      { Status: "Enabled", Prefix: `images/${incomingPrefix}`, ExpirationInDays: 7 },
    ]);
  });

  it("tells the function of what is put under incoming/ alone, so that no load starts another", () => {
    const events = listAt(
      stack,
      "Resources",
      "Bucket",
      "Properties",
      "NotificationConfiguration",
      "LambdaConfigurations",
    );
    const rules = events.flatMap((event) => at(event, "Filter", "S3Key", "Rules"));
    expect(rules).toEqual([{ Name: "prefix", Value: `images/${incomingPrefix}` }]);
  });

  it("keeps the bucket to itself, and when the stack goes", () => {
    const access = resource("Bucket", "Properties", "PublicAccessBlockConfiguration");
    expect(access).toEqual({
      BlockPublicAcls: true,
      BlockPublicPolicy: true,
      IgnorePublicAcls: true,
      RestrictPublicBuckets: true,
    });
    expect(resource("Bucket", "DeletionPolicy")).toBe("Retain");
    expect(resource("Bucket", "UpdateReplacePolicy")).toBe("Retain");
  });

  it("takes no stack without tokens", () => {
    const tokens = at(stack, "Parameters", "Tokens");
    expect(tokens).toMatchObject({ NoEcho: true });
    expect(tokens).not.toHaveProperty("Default");
    const pattern = new RegExp(String(at(tokens, "AllowedPattern")));
    for (const text of ["", "[]", "[ ]", "{}", "none"]) expect(text).not.toMatch(pattern);
    expect('[{"name":"ci","sha256":"…"}]').toMatch(pattern);
    const variables = resource("Function", "Properties", "Environment", "Variables");
    expect(variables).toMatchObject({ STOWAGE_TOKENS: { Ref: "Tokens" } });
    expect(variables).not.toHaveProperty("STOWAGE_ALLOW_ANYONE");
  });
});

describe("infra/aws/bundle.sh", () => {
  let folder = "";
  beforeAll(async () => {
    folder = await newFolder();
    await runTool(join(projectFolder, "infra/aws/bundle.sh"), [folder]);
  });

  const { secret, tokens } = makeToken(["pull"]);

  it.each([
    ["a health check", "/healthz", {}, { statusCode: 200, body: Buffer.from("ok\n").toString("base64") }],
    ["somebody without a token", "/v2/", {}, { statusCode: 401 }],
    ["somebody with a token", "/v2/", { authorization: `Bearer ${secret}` }, { statusCode: 200 }],
  ])("packs a function that answers %s", async (_who, path, headers, expected) => {
    expect(await invoke(path, headers, { STOWAGE_STORE: "memory:", STOWAGE_TOKENS: tokens })).toMatchObject(expected);
  });

  it("packs a function that serves nobody without tokens", async () => {
    const answer = await invoke("/v2/", {}, { STOWAGE_STORE: "memory:" }).catch((error: unknown) => error);
    expect(at(answer, "statusCode")).not.toBe(200);
  });

  async function invoke(
    path: string,
    headers: Readonly<Record<string, string>>,
    env: Readonly<Record<string, string>>,
  ): Promise<unknown> {
    const event = JSON.stringify({
      version: "2.0",
      rawPath: path,
      rawQueryString: "",
      headers: { host: "id.lambda-url.eu-central-1.on.aws", ...headers },
      requestContext: { domainName: "id.lambda-url.eu-central-1.on.aws", http: { method: "GET", path } },
      isBase64Encoded: false,
    });
    return JSON.parse(
      await runTool(findProgram("node24") ?? process.execPath, ["-e", callFunction, join(folder, "index.cjs"), event], {
        env,
      }),
    );
  }
});

/** Calls a packed function once, as Lambda would, and prints what it answers; what it logs goes elsewhere. */
const callFunction = `
  globalThis.console = new console.Console(process.stderr);
  const [file, event] = process.argv.slice(1);
  const context = { awsRequestId: "test", functionName: "stowage", getRemainingTimeInMillis: () => 900_000 };
  require(file).handler(JSON.parse(event), context).then(
    (answer) => process.stdout.write(JSON.stringify(answer)),
    (error) => { console.error(error); process.exitCode = 1; },
  );`;
