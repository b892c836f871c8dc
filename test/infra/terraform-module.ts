/**
 * Checks a module of Terraform as `terraform validate` would, which is not to be had from a package registry: with
 * HashiCorp's own parser, and with what the providers' schemas say of the types that the modules use
 * (`terraform-schemas.txt`).
 */
import { readFile, readdir } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { type JsonObject, isJsonObject } from "../../src/oci/json.ts";
import { projectFolder } from "./infra-tools.ts";

/** HashiCorp's parser, compiled to WebAssembly. The types of the package are left out: they bring in those of the DOM. */
interface Hcl {
  readonly parse: (fileName: string, text: string) => Promise<JsonObject>;
  /** Such as `var.name` and `aws_s3_bucket.images.arn`. Names that a `for` makes are left out. */
  readonly getReferencesInExpression: (
    fileName: string,
    expression: string,
  ) => Promise<readonly { readonly value: string }[]>;
}

const { parse, getReferencesInExpression } = createRequire(import.meta.url)("@cdktn/hcl2json") as Hcl;

/** The arguments of a resource, or of a block in it. */
interface BlockSchema {
  readonly required: readonly string[];
  readonly known: ReadonlySet<string>;
  /** What other resources can refer to; undefined for a block. */
  readonly attributes: ReadonlySet<string> | undefined;
}

/** By the resource's type, and the names of the blocks in it: `aws_lambda_function.environment`. */
type Schemas = ReadonlyMap<string, BlockSchema>;

/** Arguments that Terraform itself adds to each resource. */
const metaArguments = ["count", "depends_on", "dynamic", "for_each", "lifecycle", "provider"];

export interface TerraformModule {
  readonly variables: JsonObject;
  readonly locals: JsonObject;
  readonly outputs: JsonObject;
  /** By the folder of the module that is called, relative to this one. */
  readonly calls: JsonObject;
  /** By type (data sources with `data.` before it) and name. */
  readonly resources: ReadonlyMap<string, JsonObject>;
  /** All of its files. */
  readonly documents: readonly JsonObject[];
}

/** Reads the module of a folder of the project. Throws what the parser says. */
export async function readTerraformModule(folder: string): Promise<TerraformModule> {
  const files = (await readdir(join(projectFolder, folder))).filter((name) => name.endsWith(".tf"));
  const texts = await Promise.all(
    files.map(async (file) => [file, await readFile(join(projectFolder, folder, file), "utf8")] as const),
  );
  return parseTerraformModule(texts);
}

/** The same of texts, each with the name of its file. */
export async function parseTerraformModule(files: readonly (readonly [string, string])[]): Promise<TerraformModule> {
  const documents: JsonObject[] = [];
  for (const [name, text] of files) documents.push(await parse(name, text));
  const collect = (key: string): JsonObject => mergeAll(documents.flatMap((document) => listOf(document[key])));
  const resources = new Map<string, JsonObject>();
  for (const [kind, prefix] of [
    ["resource", ""],
    ["data", "data."],
  ] as const) {
    for (const document of documents) {
      for (const [type, named] of entriesOf(document[kind])) {
        for (const [name, bodies] of entriesOf(named)) {
          resources.set(`${prefix}${type}.${name}`, bodyOf(bodies));
        }
      }
    }
  }
  return {
    variables: collect("variable"),
    locals: collect("locals"),
    outputs: collect("output"),
    calls: collect("module"),
    resources,
    documents,
  };
}

/** What is wrong with the module; empty if nothing is. `called` are the modules that it calls, by the names of the calls. */
export async function problemsOf(
  module: TerraformModule,
  schemas: Schemas,
  called: Readonly<Record<string, TerraformModule>> = {},
): Promise<string[]> {
  const problems = [...module.resources].flatMap(([address, body]) =>
    problemsOfBlock(body, typeOf(address), schemas, address),
  );
  for (const [name, callee] of Object.entries(called)) {
    const given = Object.keys(bodyOf(module.calls[name])).filter((key) => !["source", "providers"].includes(key));
    const required = Object.entries(callee.variables).filter(([, variable]) => !("default" in bodyOf(variable)));
    problems.push(
      ...given.filter((key) => !(key in callee.variables)).map((key) => `module.${name}: unknown variable ${key}`),
      ...required.filter(([key]) => !given.includes(key)).map(([key]) => `module.${name}: ${key} is missing`),
    );
  }
  const used = new Set<string>();
  for (const expression of module.documents.flatMap((document) => expressionsOf(document))) {
    for (const { value } of await getReferencesInExpression("module.tf", expression)) {
      const [kind = "", name = "", third = ""] = value.split(".");
      used.add(`${kind}.${name}`);
      const isThere = { var: name in module.variables, local: name in module.locals }[kind];
      const isOutput = kind === "module" && third in (called[name]?.outputs ?? {});
      if (isThere === false || (kind === "module" && !isOutput)) problems.push(`${value}: there is no such value`);
      problems.push(...problemsOfReference(value, module, schemas));
    }
  }
  const declared = [
    ...Object.keys(module.variables).map((name) => `var.${name}`),
    ...Object.keys(module.locals).map((name) => `local.${name}`),
  ];
  return [...problems, ...declared.filter((name) => !used.has(name)).map((name) => `${name} is not used`)];
}

/** Of a reference to a resource or a data source: is it there, and does it have the attribute? */
function problemsOfReference(value: string, { resources }: TerraformModule, schemas: Schemas): string[] {
  const isData = value.startsWith("data.");
  const [type = "", name = "", ...rest] = (isData ? value.slice("data.".length) : value).split(".");
  if (!isData && !/^[a-z0-9]+_/.test(type)) return []; // var.a, each.value, path.module …
  if (type === "custom_error_response") return []; // the iterator of a dynamic block
  const address = `${isData ? "data." : ""}${type}.${name}`;
  if (!resources.has(address)) return [`${value}: there is no such resource`];
  const attribute = rest.find((part) => !/^\d+$/.test(part));
  const { attributes } = schemas.get(typeOf(address)) ?? {};
  return attribute === undefined || attributes?.has(attribute) === true ? [] : [`${value}: there is no such attribute`];
}

function problemsOfBlock(body: JsonObject, path: string, schemas: Schemas, place: string): string[] {
  const schema = schemas.get(path);
  if (schema === undefined) return [`${place}: no schema of ${path} in terraform-schemas.txt`];
  const dynamic = entriesOf(body["dynamic"]).map(([name, blocks]) => [name, listOf(blocks)[0]?.["content"]] as const);
  const given = [...Object.entries(body), ...dynamic];
  const names = given.map(([name]) => name);
  const unknown = names.filter((name) => !schema.known.has(name) && !metaArguments.includes(name));
  const missing = schema.required.filter((name) => !names.includes(name));
  return [
    ...unknown.map((name) => `${place}: unknown argument ${name}`),
    ...missing.map((name) => `${place}: ${name} is missing`),
    ...given
      .filter(([name]) => schema.known.has(name) && schemas.has(`${path}.${name}`))
      .flatMap(([name, value]) =>
        listOf(value).flatMap((block) => problemsOfBlock(block, `${path}.${name}`, schemas, `${place}.${name}`)),
      ),
  ];
}

/** Each line is `PATH: ARGUMENT! ARGUMENT …`, a `!` behind what is required, and for a resource ` | ATTRIBUTE …`. */
export async function readTerraformSchemas(): Promise<Schemas> {
  const text = await readFile(join(projectFolder, "test/infra/terraform-schemas.txt"), "utf8");
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => {
      const [, path = "", args = "", attributes] = /^([\w.]+):([^|]*)(?:\| (.*))?$/.exec(line) ?? [];
      const names = args.split(" ").filter((name) => name !== "");
      return [
        path,
        {
          required: names.filter((name) => name.endsWith("!")).map((name) => name.slice(0, -1)),
          known: new Set(names.map((name) => name.replace(/!$/, ""))),
          attributes: attributes === undefined ? undefined : new Set(attributes.split(" ")),
        },
      ];
    }),
  );
}

/** All texts in which the parser found an expression, without the types of variables. */
function expressionsOf(value: unknown): string[] {
  if (typeof value === "string") return value.includes("${") ? [value] : [];
  if (Array.isArray(value)) return value.flatMap(expressionsOf);
  if (!isJsonObject(value)) return [];
  return Object.entries(value).flatMap(([key, item]) => (key === "type" ? [] : expressionsOf(item)));
}

function typeOf(address: string): string {
  return address.slice(0, address.lastIndexOf("."));
}

function bodyOf(value: unknown): JsonObject {
  return listOf(value)[0] ?? {};
}

function listOf(value: unknown): JsonObject[] {
  return (Array.isArray(value) ? value : [value]).filter(isJsonObject);
}

function mergeAll(objects: readonly JsonObject[]): JsonObject {
  return Object.fromEntries(objects.flatMap((object) => Object.entries(object)));
}

function entriesOf(value: unknown): [string, unknown][] {
  return isJsonObject(value) ? Object.entries(value) : [];
}
