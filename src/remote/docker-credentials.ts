/**
 * Finds the credentials that `docker login` has kept: in Docker's `config.json`, or in a credential helper that the
 * file names (`docker-credential-<name>`). It runs programs, so it is not for Workers.
 */
import { Buffer } from "node:buffer";
import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { StowageError, messageOf } from "../errors.ts";
import { type JsonObject, isJsonObject, parseJson } from "../oci/json.ts";
import { startTimer } from "../streams/in-time.ts";
import type { Credentials } from "./credentials.ts";

/** Bytes of a helper's answer. */
const maxHelperBytes = 64 * 1024;
/** A helper may ask its user to unlock a keychain. */
const helperSeconds = 60;

/** The key of Docker Hub in the file, and its name for helpers. */
const dockerHubKey = "https://index.docker.io/v1/";

type Environment = Readonly<Record<string, string | undefined>>;

/** Returns a function that finds the credentials for a host and port. Its file is `$DOCKER_CONFIG/config.json`. */
export function dockerCredentials(env: Environment): (host: string) => Promise<Credentials | undefined> {
  const folder = env["DOCKER_CONFIG"] ?? "";
  const path = join(folder === "" ? join(homedir(), ".docker") : folder, "config.json");
  return async (host) => {
    const config = await readConfig(path);
    if (config === undefined) return undefined;
    const server = host === "registry-1.docker.io" ? dockerHubKey : host;
    const helpers = isJsonObject(config["credHelpers"]) ? config["credHelpers"] : {};
    const helper = helpers[server] ?? config["credsStore"];
    const kept = typeof helper === "string" && helper !== "" ? await askHelper(helper, server, env) : undefined;
    return kept ?? credentialsIn(config["auths"], server, path);
  };
}

async function readConfig(path: string): Promise<JsonObject | undefined> {
  try {
    const json = parseJson(await readFile(path));
    if (isJsonObject(json)) return json;
    throw new SyntaxError("expected an object");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw new StowageError("INPUT_INVALID", `Cannot read ${path}: ${messageOf(error)}`, { cause: error });
  }
}

/** The keys of `auths` are hosts, or URLs: older versions of Docker wrote these. */
function credentialsIn(auths: unknown, server: string, path: string): Credentials | undefined {
  const entries = isJsonObject(auths) ? Object.entries(auths) : [];
  const [, entry] =
    entries.find(([key]) => key === server) ?? entries.find(([key]) => hostOf(key) === hostOf(server)) ?? [];
  if (!isJsonObject(entry)) return undefined;
  const { auth, username, password, identitytoken, registrytoken } = entry;
  if (typeof registrytoken === "string" && registrytoken !== "") return { token: registrytoken };
  if (typeof identitytoken === "string" && identitytoken !== "") return { identityToken: identitytoken };
  if (typeof auth === "string" && auth !== "") {
    const [, user = "", secret] = /^([^:]*):(.*)$/s.exec(Buffer.from(auth, "base64").toString()) ?? [];
    if (secret !== undefined) return { user, password: secret.replace(/\0+$/, "") };
    throw new StowageError("INPUT_INVALID", `Cannot read ${path}: the auth of ${server} is no user and password`);
  }
  if (typeof username !== "string" || typeof password !== "string" || username === "") return undefined;
  return { user: username, password };
}

function hostOf(key: string): string {
  return key.replace(/^https?:\/\//, "").replace(/\/.*$/s, "");
}

/** Undefined if the helper knows nothing of the server. */
async function askHelper(name: string, server: string, env: Environment): Promise<Credentials | undefined> {
  const program = `docker-credential-${name}`;
  if (!/^[\w.-]+$/.test(name)) throw helperFailed(program, server, "its name has other characters than letters");
  const { code, output, problem } = await run(program, server, env);
  if (problem !== undefined) throw helperFailed(program, server, problem);
  if (code !== 0) {
    if (/credentials not found/i.test(output)) return undefined;
    throw helperFailed(program, server, `it ended with ${code}: ${output.trim().slice(0, 300)}`);
  }
  const answer = jsonOrUndefined(output);
  const { Username: user, Secret: secret } = isJsonObject(answer) ? answer : {};
  if (typeof user !== "string" || typeof secret !== "string") {
    throw helperFailed(program, server, "it answered without a user and a secret");
  }
  if (secret === "") return undefined;
  return user === "<token>" ? { identityToken: secret } : { user, password: secret };
}

interface HelperOutcome {
  readonly code: number | null;
  readonly output: string;
  /** Why there is no outcome. */
  readonly problem?: string;
}

async function run(program: string, input: string, env: Environment): Promise<HelperOutcome> {
  return new Promise((resolve) => {
    const child = spawn(program, ["get"], { env, stdio: ["pipe", "pipe", "ignore"] });
    let output = "";
    /** Programs that the helper has started may keep the pipe open: nothing waits for them. */
    const giveUp = (problem: string): void => {
      child.kill();
      child.stdout.destroy();
      resolve({ code: null, output: "", problem });
    };
    const timer = startTimer(helperSeconds, () => giveUp(`it took more than ${helperSeconds} seconds`));
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      if (output.length > maxHelperBytes) giveUp(`it answered more than ${maxHelperBytes} bytes`);
    });
    child.stdin.on("error", () => undefined); // a helper that has ended; its code says more
    child.stdin.end(input);
    child.on("error", (error) => giveUp(messageOf(error)));
    child.on("close", (code, signal) => {
      timer.stop();
      resolve(signal === null ? { code, output } : { code, output, problem: `${signal} ended it` });
    });
  });
}

function jsonOrUndefined(text: string): unknown {
  try {
    return parseJson(Buffer.from(text));
  } catch {
    return undefined;
  }
}

/** The helper's own words are safe to show only if it failed: else they hold the secret. */
function helperFailed(program: string, server: string, reason: string): StowageError {
  return new StowageError("INPUT_INVALID", `Cannot get the credentials for ${server} from ${program}: ${reason}`);
}
