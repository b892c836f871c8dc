/**
 * Reads a blob as a process of a runtime's own: `read-blob.mjs DIST URL DIGEST SIZE`. Prints the digest that the bytes have.
 */
import { createHash } from "node:crypto";
import process from "node:process";

const [dist = "", url = "", digest = "", size = ""] = process.argv.slice(2);
/** @type {typeof import("../../src/remote/registry-address.ts")} */
const { parseRegistryAddress } = await import(`${dist}/remote/registry-address.js`);
/** @type {typeof import("../../src/remote/registry-source.ts")} */
const { RegistrySource } = await import(`${dist}/remote/registry-source.js`);

const source = new RegistrySource(parseRegistryAddress(url));
const body = await source.readBlob("team/app", { digest, size: Number(size) });
const hash = createHash("sha256");
for await (const chunk of body ?? []) hash.update(chunk);
process.stdout.write(`sha256:${hash.digest("hex")}\n`);
