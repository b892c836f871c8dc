import process from "node:process";

/** Is this process Node itself? Bun and Deno also tell the version of a Node. */
export function isNode(): boolean {
  const { bun, deno } = process.versions;
  return bun === undefined && deno === undefined;
}
