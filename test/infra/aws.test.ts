import { readFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { beforeAll, describe, expect, it } from "vitest";
import { incomingPrefix, stagingPrefix } from "../../src/layout/keys.ts";
import { isJsonObject } from "../../src/oci/json.ts";
import { parseConfig } from "../../src/settings/config.ts";
import { describeIfFound } from "../support/requirement.ts";
import { newFolder } from "../support/run-stowage.ts";
import { runTool } from "../tools/run-tool.ts";
import { readEdgeCode } from "./edge-function.ts";
import { at, findProgram, listAt, missingPrograms, projectFolder, readYaml, recordOf, textsOf } from "./infra-tools.ts";
import { makeToken } from "./make-token.ts";
import { readCommands } from "./page.ts";

const template = "infra/aws/template.yaml";

describeIfFound(template, missingPrograms("cfn-lint", "infra-python"), () => {
  let stack: unknown;
  beforeAll(async () => {
    [stack] = await readYaml(template);
  });
  const resource = (...path: readonly (string | number)[]): unknown => at(stack, "Resources", ...path);
  /** The statements of the function's role, in a stack of which these conditions are true. */
  const allowed = (...conditions: readonly string[]): unknown[] =>
    listAt(decide(resource("Role"), conditions), "Properties", "Policies").flatMap((policy) =>
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
      { "Fn::Sub": "arn:${AWS::Partition}:s3:::${AWS::StackName}-${AWS::AccountId}-${AWS::Region}-an/images/*" },
      { "Fn::Sub": "arn:${AWS::Partition}:s3:::${AWS::StackName}-${AWS::AccountId}-${AWS::Region}-an" },
      { "Fn::GetAtt": ["LogGroup", "Arn"] },
      { "Fn::GetAtt": ["FailedEvents", "Arn"] },
    ]);
    expect(resource("Role", "Properties", "ManagedPolicyArns")).toBeUndefined();
  });

  it("allows the function the bucket's key, if it has one of its own", () => {
    const [statement, ...others] = allowed("HasKey").filter((right) => at(right, "Sid") === "Key");
    const rights = { Effect: "Allow", Action: ["kms:Decrypt", "kms:GenerateDataKey"], Resource: { Ref: "KmsKeyArn" } };
    expect([statement, others]).toEqual([{ Sid: "Key", ...rights }, []]);
    const rules = ["Properties", "BucketEncryption", "ServerSideEncryptionConfiguration"];
    expect(listAt(decide(resource("Bucket"), ["HasKey"]), ...rules)).toMatchObject([
      { ServerSideEncryptionByDefault: { KMSMasterKeyID: { Ref: "KmsKeyArn" } }, BucketKeyEnabled: true },
    ]);
    expect(listAt(decide(resource("Bucket"), []), ...rules)).toEqual([
      { ServerSideEncryptionByDefault: { SSEAlgorithm: "AES256" } },
    ]);
  });

  it("lets Lambda put the function into a VPC, and the function's code do nothing there", () => {
    const [allow, deny, ...others] = allowed("HasNetwork").slice(allowed().length);
    expect([at(allow, "Effect"), at(deny, "Effect"), others]).toEqual(["Allow", "Deny", []]);
    expect(at(deny, "Action")).toEqual(at(allow, "Action"));
    expect(at(deny, "Condition")).toEqual({ ArnLike: { "lambda:SourceFunctionArn": "*" } });
    expect(at(decide(resource("Function"), ["HasNetwork"]), "Properties", "VpcConfig")).toEqual({
      SubnetIds: { Ref: "SubnetIds" },
      SecurityGroupIds: { Ref: "SecurityGroupIds" },
    });
    expect(at(decide(resource("Function"), []), "Properties", "VpcConfig")).toBeUndefined();
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

  it("takes rules of retention", () => {
    const expected = { "Fn::If": ["HasRetention", { Ref: "Retention" }, { Ref: "AWS::NoValue" }] };
    expect(resource("Function", "Properties", "Environment", "Variables", "STOWAGE_RETENTION")).toEqual(expected);
    const { AllowedPattern, Description } = recordOf(at(stack, "Parameters", "Retention"));
    const [example = ""] = /\[\{.*\}\]/.exec(String(Description)) ?? [];
    expect(parseConfig({ STOWAGE_RETENTION: example }).retention).toHaveLength(1);
    for (const text of ["", "[]", example]) expect(text).toMatch(new RegExp(String(AllowedPattern)));
    expect("10").not.toMatch(new RegExp(String(AllowedPattern)));
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
    const name = "${AWS::StackName}-${AWS::AccountId}-${AWS::Region}-an";
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

  it("lets browsers send parts of uploads to the bucket, from the page at the addresses of the service and from no other", () => {
    const rulesIf = (...conditions: readonly string[]): unknown[] =>
      listAt(decide(resource("Bucket"), conditions), "Properties", "CorsConfiguration", "CorsRules");
    const addressOf = (output: string, ...conditions: readonly string[]): unknown =>
      decide(at(stack, "Outputs", output, "Value"), conditions);
    const all = ["HasDomain", "HasCloudFront", "HasUrl"];
    const rule = { AllowedMethods: ["PUT"], AllowedHeaders: ["content-type"], MaxAge: 3600 };
    const origins = [addressOf("Url", ...all), addressOf("Url", "HasCloudFront"), addressOf("LoadUrl", "HasUrl")];
    expect(rulesIf(...all)).toEqual([{ ...rule, AllowedOrigins: origins }]);
    expect(rulesIf("HasApi")).toEqual([{ ...rule, AllowedOrigins: [addressOf("Url", "HasApi")] }]);
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
    expect(resource("Bucket", "DeletionPolicy")).toBe("RetainExceptOnCreate");
    expect(resource("Bucket", "UpdateReplacePolicy")).toBe("Retain");
    expect(resource("Bucket", "Properties", "BucketNamespace")).toBe("account-regional");
  });

  it.each([
    ["Tokens", "STOWAGE_TOKENS", "HasTokens", '[{"name":"ci","sha256":"…"}]'],
    ["Oidc", "STOWAGE_OIDC", "HasOidc", '[{"issuer":"https://token.actions.githubusercontent.com"}]'],
  ])("takes a list of at least one for %s", (name, variable, condition, list) => {
    const pattern = new RegExp(String(at(stack, "Parameters", name, "AllowedPattern")));
    for (const text of ["[]", "[ ]", "{}", "none"]) expect(text).not.toMatch(pattern);
    for (const text of ["", list]) expect(text).toMatch(pattern);
    const variables = (...conditions: string[]): unknown =>
      at(decide(resource("Function"), conditions), "Properties", "Environment", "Variables");
    expect(variables(condition)).toMatchObject({ [variable]: { Ref: name } });
    expect(variables()).not.toHaveProperty(variable);
  });

  it("takes no stack without tokens and without rules for them", () => {
    expect(at(stack, "Parameters", "Tokens")).toMatchObject({ NoEcho: true });
    const isEmpty = (name: string): unknown => ({ "Fn::Equals": [{ Ref: name }, ""] });
    const [assertion, ...others] = listAt(stack, "Rules", "SomebodyMayComeIn", "Assertions");
    expect(assertion).toMatchObject({
      Assert: { "Fn::Not": [{ "Fn::And": [isEmpty("Tokens"), isEmpty("Oidc")] }] },
    });
    expect(others).toEqual([]);
    const variables = resource("Function", "Properties", "Environment", "Variables");
    expect(variables).not.toHaveProperty("STOWAGE_ALLOW_ANYONE");
  });

  it("calls the function for gc by its own rule alone, with what the handler knows", () => {
    const target = { Id: "gc", Arn: { "Fn::GetAtt": ["Function", "Arn"] }, Input: '{"stowage": "gc"}' };
    expect(resource("GcRule", "Properties", "Targets")).toEqual([target]);
    expect(resource("GcRule", "Properties", "ScheduleExpression")).toEqual({ Ref: "GcSchedule" });
    expect(resource("GcPermission", "Properties")).toMatchObject({
      Principal: "events.amazonaws.com",
      SourceArn: { "Fn::GetAtt": ["GcRule", "Arn"] },
    });
    const pattern = new RegExp(String(at(stack, "Parameters", "GcSchedule", "AllowedPattern")));
    for (const text of ["", "rate(1 hour)", "cron(0 3 * * ? *)"]) expect(text).toMatch(pattern);
    expect("hourly").not.toMatch(pattern);
  });

  it("has an alarm for errors, for throttles and for events that failed, each told to whom the stack names", () => {
    const alarms = ["ErrorAlarm", "ThrottleAlarm", "FailedEventsAlarm"].map((name) =>
      decide(resource(name), ["HasAlarmEmail", "HasAlarmTopic"]),
    );
    expect(alarms.map((alarm) => at(alarm, "Properties", "MetricName"))).toEqual([
      "Errors",
      "Throttles",
      "ApproximateNumberOfMessagesVisible",
    ]);
    for (const alarm of alarms) {
      expect(at(alarm, "Condition")).toBe("HasAlarms");
      expect(at(alarm, "Properties", "AlarmActions")).toEqual([{ Ref: "AlarmTopic" }, { Ref: "AlarmTopicArn" }]);
    }
  });

  it("has CloudFront keep nothing, send everything but the host, and wait for a minute", () => {
    const config = (key: string): unknown => resource("Distribution", "Properties", "DistributionConfig", key);
    expect(config("DefaultCacheBehavior")).toMatchObject({
      AllowedMethods: ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"],
      CachePolicyId: "4135ea2d-6df8-44a3-9df3-4b5a84be39ad", // CachingDisabled
      OriginRequestPolicyId: "b689b0a8-53d0-40ab-baf2-68738e2966ac", // AllViewerExceptHostHeader
      ViewerProtocolPolicy: "https-only",
      FunctionAssociations: [
        { EventType: "viewer-request", FunctionARN: { "Fn::GetAtt": ["EdgeFunction", "FunctionARN"] } },
      ],
    });
    expect(config("CustomErrorResponses")).toEqual(
      [400, 403, 404, 405, 414, 500, 501, 502, 503, 504].map((ErrorCode) => ({ ErrorCode, ErrorCachingMinTTL: 0 })),
    );
    expect(at(stack, "Parameters", "EdgeTimeoutSeconds", "Default")).toBe(60);
  });

  it("runs the function at the edge that the tests run", async () => {
    expect(resource("EdgeFunction", "Properties", "FunctionConfig")).toMatchObject({ Runtime: "cloudfront-js-2.0" });
    const code = String(at(resource("EdgeFunction", "Properties", "FunctionCode"), "Fn::Sub"));
    expect(code.replaceAll("${AnonymousPull}", "false")).toBe(await readEdgeCode(false));
  });

  describe("its page", () => {
    let page = "";
    beforeAll(async () => {
      page = await readFile(join(projectFolder, "infra/aws/README.md"), "utf8");
    });
    const names = (section: string): string[] => Object.keys(recordOf(at(stack, section)));

    it("explains each parameter, and names none that is not there", () => {
      const rows = page.match(/^\| `[A-Z][^|]*/gm) ?? [];
      const explained = rows.flatMap((cell) => cell.match(/\w+/g) ?? []);
      expect(explained.toSorted()).toEqual(names("Parameters").toSorted());
      const overrides = [...page.matchAll(/[\s"'](\w+)=(?=[^\s]*(?:\s|$))/g)].map(([, name = ""]) => name);
      const given = overrides.filter((name) => /^[A-Z][a-z]/.test(name));
      expect(given.length).toBeGreaterThan(2);
      expect(given.filter((name) => !names("Parameters").includes(name))).toEqual([]);
    });

    it("reads outputs that are there", async () => {
      const commands = (await readCommands("infra/aws/README.md")).join("\n");
      const read = [...commands.matchAll(/\$\(output (\w+)\)/g)].map(([, name = ""]) => name);
      expect(read.length).toBeGreaterThan(2);
      expect(read.filter((name) => !names("Outputs").includes(name))).toEqual([]);
    });
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
    const program = findProgram("node24") ?? process.execPath;
    const output = await runTool(program, ["-e", callFunction, join(folder, "index.cjs"), event], { env });
    return JSON.parse(output.slice(output.lastIndexOf("\n") + 1)); // the log comes first
  }
});

/** A part of a template as CloudFormation makes it, in a stack of which these conditions are true. */
function decide(value: unknown, conditions: readonly string[]): unknown {
  if (Array.isArray(value)) return value.map((item) => decide(item, conditions)).filter((item) => item !== undefined);
  if (!isJsonObject(value)) return value;
  if (value["Ref"] === "AWS::NoValue") return undefined;
  const choice = value["Fn::If"];
  if (Array.isArray(choice)) return decide(choice[conditions.includes(String(choice[0])) ? 1 : 2], conditions);
  const decided = Object.entries(value).map(([key, item]) => [key, decide(item, conditions)] as const);
  return Object.fromEntries(decided.filter(([, item]) => item !== undefined));
}

/** Calls a packed function once, as Lambda would, and prints what it answers; what it logs goes elsewhere. */
const callFunction = `
  globalThis.console = new console.Console(process.stderr);
  const [file, event] = process.argv.slice(1);
  const context = { awsRequestId: "test", functionName: "stowage", getRemainingTimeInMillis: () => 900_000 };
  require(file).handler(JSON.parse(event), context).then(
    (answer) => process.stdout.write(JSON.stringify(answer)),
    (error) => { console.error(error); process.exitCode = 1; },
  );`;
