import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { incomingPrefix, stagingPrefix } from "../../src/layout/keys.ts";
import { readEdgeCode } from "./edge-function.ts";
import { at, listAt, projectFolder } from "./infra-tools.ts";
import {
  type TerraformModule,
  parseTerraformModule,
  problemsOf,
  readTerraformModule,
  readTerraformSchemas,
} from "./terraform-module.ts";

const awsFolder = "infra/terraform/aws";
const schemas = await readTerraformSchemas();
const aws = await readTerraformModule(awsFolder);

describe("problemsOf", () => {
  const bucket = 'resource "aws_s3_bucket" "a" {\n  bucket = "b"\n}\n';

  it.each([
    ["nothing wrong", bucket, []],
    [
      "an unknown argument",
      'resource "aws_s3_bucket" "a" {\n  buket = "b"\n}',
      ["aws_s3_bucket.a: unknown argument buket"],
    ],
    [
      "an argument that is missing",
      `${bucket}resource "aws_s3_bucket_policy" "a" {\n  bucket = aws_s3_bucket.a.id\n}`,
      ["aws_s3_bucket_policy.a: policy is missing"],
    ],
    [
      "a block without what it needs",
      `resource "aws_s3_bucket_ownership_controls" "a" {\n  bucket = "b"\n  rule {}\n}`,
      ["aws_s3_bucket_ownership_controls.a.rule: object_ownership is missing"],
    ],
    [
      "a dynamic block without what it needs",
      `resource "aws_s3_bucket_ownership_controls" "a" {\n  bucket = "b"\n  dynamic "rule" {\n    for_each = [1]\n    content {}\n  }\n}`,
      ["aws_s3_bucket_ownership_controls.a.rule: object_ownership is missing"],
    ],
    [
      "a resource that is not there",
      "locals {\n  x = [local.x, aws_s3_bucket.a.arn]\n}",
      ["aws_s3_bucket.a.arn: there is no such resource"],
    ],
    [
      "an attribute that is not there",
      `${bucket}locals {\n  x = "\${local.x}\${aws_s3_bucket.a.url}"\n}`,
      ["aws_s3_bucket.a.url: there is no such attribute"],
    ],
    [
      "a data source that is not there",
      "locals {\n  x = [local.x, data.aws_region.a.id]\n}",
      ["data.aws_region.a.id: there is no such resource"],
    ],
    ["a variable that is not there", 'locals {\n  x = "${local.x}${var.y}"\n}', ["var.y: there is no such value"]],
    ["a local value that is not there", "locals {\n  x = [local.x, local.y]\n}", ["local.y: there is no such value"]],
    ["a variable that is not used", 'variable "a" {}', ["var.a is not used"]],
    [
      "a type that it does not know",
      'resource "aws_x" "a" {}',
      ["aws_x.a: no schema of aws_x in terraform-schemas.txt"],
    ],
  ])("finds %s", async (_, text, expected) => {
    expect(await problemsOf(await parseTerraformModule([["a.tf", text]]), schemas)).toEqual(expected);
  });

  it("finds what a call of a module lacks, and what it has too much", async () => {
    const callee = await parseTerraformModule([["a.tf", 'variable "a" {}\noutput "b" {\n  value = var.a\n}']]);
    const text = 'module "m" {\n  source = "./m"\n  c = 1\n}\nlocals {\n  x = [local.x, module.m.b, module.m.d]\n}';
    const caller = await parseTerraformModule([["b.tf", text]]);
    expect(await problemsOf(caller, schemas, { m: callee })).toEqual([
      "module.m: unknown variable c",
      "module.m: a is missing",
      "module.m.d: there is no such value",
    ]);
  });

  it("is not reached with a file that is no Terraform", async () => {
    await expect(parseTerraformModule([["a.tf", 'resource "a" {']])).rejects.toThrow("a.tf");
  });
});

describe("infra/terraform", () => {
  it.each([awsFolder, "infra/terraform/cloudflare"])("%s is what its providers take", async (folder) => {
    expect(await problemsOf(await readTerraformModule(folder), schemas)).toEqual([]);
  });

  it("has an example that calls the module as it is", async () => {
    const example = await readTerraformModule(`${awsFolder}/examples/regions`);
    expect(Object.keys(example.calls).toSorted()).toEqual(["ap", "hub", "us"]);
    expect(await problemsOf(example, schemas, { hub: aws, us: aws, ap: aws })).toEqual([]);
  });

  it.each([awsFolder, "infra/terraform/cloudflare"])("%s says that nobody has applied it", async (folder) => {
    expect(await readFile(join(projectFolder, folder, "README.md"), "utf8")).toContain("**It has not been applied.**");
  });
});

describe("infra/terraform/aws, beside infra/aws/template.yaml", () => {
  let template = "";
  beforeAll(async () => {
    template = await readFile(join(projectFolder, "infra/aws/template.yaml"), "utf8");
  });
  const text = (module: TerraformModule): string => JSON.stringify(module.documents);

  it("runs the same code at the edge", async () => {
    const code = await readFile(join(projectFolder, awsFolder, "edge.js"), "utf8");
    expect(code.replaceAll("${AnonymousPull}", "true")).toBe(await readEdgeCode(true));
  });

  it("gives the function the same rights", () => {
    const actions = (source: string): string[] =>
      [...new Set(source.match(/\b(?:s3|sqs|logs|kms|ec2):[A-Z]\w+/g))]
        .filter((action) => action !== "s3:ObjectCreated")
        .toSorted();
    expect(actions(text(aws))).toEqual(actions(template));
    expect(actions(template).length).toBeGreaterThan(15);
  });

  it("uses the same policies of CloudFront, runtimes and settings", () => {
    const bySettings = ["STOWAGE_GC_GRACE", "STOWAGE_RETENTION"]; // var.settings
    const found = (source: string): string[] =>
      [...new Set(source.match(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|nodejs\d+\.x|STOWAGE_[A-Z_]+/g))]
        .filter((name) => !["STOWAGE_ALLOW_ANYONE", ...bySettings].includes(name))
        .toSorted();
    expect(found(text(aws))).toEqual(found(template));
  });

  it("lets browsers send parts of uploads to the bucket, as the template does", () => {
    const [rule] = listAt(aws.resources.get("aws_s3_bucket_cors_configuration.images"), "cors_rule");
    expect(rule).toMatchObject({ allowed_methods: ["PUT"], allowed_headers: ["content-type"], max_age_seconds: 3600 });
    const origins = String(at(rule, "allowed_origins"));
    for (const address of ["${var.domain_name}", "${edge.domain_name}", "${local.url_host}"]) {
      expect(origins).toContain(`https://${address}`);
    }
  });

  it("expires what is unfinished, where the service keeps it", () => {
    expect(at(aws.resources.get("aws_s3_bucket_lifecycle_configuration.images"), "rule")).toMatchObject([
      { abort_incomplete_multipart_upload: [{ days_after_initiation: 1 }] },
      { filter: [{ prefix: `images/${stagingPrefix}` }], expiration: [{ days: 2 }] },
      { filter: [{ prefix: `images/${incomingPrefix}` }], expiration: [{ days: 7 }] },
    ]);
  });
});

describe("infra/terraform/cloudflare", () => {
  it("expires what is unfinished, where the service keeps it, and has the names of wrangler's file", async () => {
    const { resources, variables } = await readTerraformModule("infra/terraform/cloudflare");
    const day = 24 * 60 * 60;
    const after = (days: number): unknown => ({ condition: { type: "Age", max_age: days * day } });
    expect(at(resources.get("cloudflare_r2_bucket_lifecycle.images"), "rules")).toMatchObject([
      { conditions: { prefix: "" }, abort_multipart_uploads_transition: after(1) },
      { conditions: { prefix: stagingPrefix }, delete_objects_transition: after(2) },
      { conditions: { prefix: incomingPrefix }, delete_objects_transition: after(7) },
    ]);
    const wrangler = await readFile(join(projectFolder, "wrangler.incoming.toml"), "utf8");
    expect(wrangler).toContain(`bucket_name = "${String(at(variables, "bucket_name", 0, "default"))}"`);
    const queues = at(variables, "queue_names", 0, "default");
    expect([...wrangler.matchAll(/^(?:dead_letter_)?queue = "(.+)"$/gm)].map(([, name]) => name)).toEqual(queues);
  });
});
