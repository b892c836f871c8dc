/** The function that CloudFront runs before each request, out of the template for AWS. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { runInNewContext } from "node:vm";
import { isJsonObject } from "../../src/oci/json.ts";
import { projectFolder } from "./infra-tools.ts";

/** A request as CloudFront hands it to its functions. Names of headers are in lower case. */
export interface EdgeRequest {
  readonly method: string;
  /** The path. */
  readonly uri: string;
  readonly headers: Readonly<Record<string, { readonly value: string }>>;
}

/** The request that goes on to the service, or the answer that the client gets in its place. */
export type EdgeResult = EdgeRequest | EdgeAnswer;

export interface EdgeAnswer {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, { readonly value: string }>>;
  readonly body: string;
}

export type EdgeFunction = (request: EdgeRequest) => EdgeResult;

/** Its code as the stack gets it. */
export async function readEdgeCode(anonymousPull: boolean): Promise<string> {
  const template = await readFile(join(projectFolder, "infra/aws/template.yaml"), "utf8");
  const [, block = ""] = /^ {6}FunctionCode: !Sub \|\n((?: {8}.*\n|\n)+)/m.exec(template) ?? [];
  return `${block.trimEnd()}\n`.replaceAll(/^ {8}/gm, "").replaceAll("${AnonymousPull}", String(anonymousPull));
}

/** Runs it as CloudFront does: apart from everything of Node's. */
export async function loadEdgeFunction(anonymousPull: boolean): Promise<EdgeFunction> {
  const code = await readEdgeCode(anonymousPull);
  return (request) => {
    const event = JSON.stringify({ version: "1.0", context: { requestId: "edge-request" }, request });
    const result: unknown = JSON.parse(String(runInNewContext(`${code}; JSON.stringify(handler(${event}))`)));
    if (isEdgeResult(result)) return result;
    throw new TypeError(`expected a request or an answer, found ${JSON.stringify(result)}`);
  };
}

function isEdgeResult(value: unknown): value is EdgeResult {
  return isJsonObject(value) && isJsonObject(value["headers"]) && ("statusCode" in value || "uri" in value);
}
