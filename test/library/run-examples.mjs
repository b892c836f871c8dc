/**
 * Runs the examples `load.ts` and `mount.ts` of `docs/library.md` in the folder in which this file lies then: compiled, or with the
 * argument `ts` as they are written. Prints what `load.ts` prints, and then a line of JSON with what the app of `mount.ts` answered.
 */
import { readFile } from "node:fs/promises";
import process from "node:process";

const tarball = await readFile("app.tar");
globalThis.fetch = async () => new Response(tarball); // the address in the example is nobody's

const extension = process.argv[2] ?? "js";
await import(`./load.${extension}`);
/** @type {{ readonly default: import("hono").Hono }} */
const { default: app } = await import(`./mount.${extension}`);

const login = { Authorization: `Basic ${btoa(`team:${process.env["TEAM_PASSWORD"]}`)}` };
const refused = await app.request("/images/v2/");
const loaded = await app.request("/images/v1/load/other:1", { method: "PUT", body: tarball, headers: login });
const listed = await app.request("/images/v2/team/app/tags/list", { headers: login });
/** @type {{ readonly tags: readonly string[] }} */
const { tags } = await listed.json();
process.stdout.write(`${JSON.stringify({ refused: refused.status, loaded: loaded.status, tags })}\n`);
