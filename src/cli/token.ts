/** `stowage token`: makes a secret, and the entry for the service's settings. The entry has only the secret's hash. */
import { createHash, randomBytes } from "node:crypto";
import { parseArgs } from "node:util";
import { type Action, type Token, actions } from "../auth/access.ts";
import { expiryForm, expiryOf, isExpiry, isTokenName, tokenNameForm } from "../auth/parse-tokens.ts";
import { StowageError } from "../errors.ts";
import { isPattern } from "../oci/tag-pattern.ts";
import { parseDuration } from "../settings/parse-quantity.ts";
import { type Command, checkCount, exitCodes } from "./command.ts";

/** Nobody can guess this many random bytes. */
const secretBytes = 32;
/** Shows people, and programs that scan for leaked secrets, that the text is a secret of Stowage. */
const secretPrefix = "stowage_";

export const token: Command = {
  help: `Usage: stowage token NAME [--allow ACTIONS] [--repository PATTERN]... [--expires T]

Makes a secret, shown only this once, and an entry for the list in STOWAGE_TOKENS,
which holds no more than its SHA-256. NAME stands in the service's log. The secret is
a Bearer token, or the password of any user.

Options:
  --allow ACTIONS        pull, load, copy, delete and metrics, joined by
                         commas, default pull,load
  --repository PATTERN   only there; "*" stands for any part of a name up to the next
                         "/", "**" for any part at all; again for more of them
  --expires T            refused after this time, such as 90d, or 2027-03-31 (in UTC)
  --json                 print {"secret", "entry"} as JSON

Examples:
  stowage token ci --repository 'team/**'
  stowage token cluster --allow pull --expires 90d
  stowage token prometheus --allow metrics
  stowage token ci --json | tee ci.json | jq -c "[.entry]"
`,
  async run(args, { stdout }) {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: {
        allow: { type: "string", default: "pull,load" },
        repository: { type: "string", multiple: true, default: ["**"] },
        expires: { type: "string" },
        json: { type: "boolean" },
      },
      allowPositionals: true,
    });
    checkCount(positionals, 1, 1, "NAME");
    const secret = secretPrefix + randomBytes(secretBytes).toString("base64url");
    const entry: Token = {
      name: readTokenName(positionals[0]),
      sha256: createHash("sha256").update(secret).digest("hex"),
      actions: values.allow.split(",").map(readAction),
      repositories: values.repository.map(readPattern),
      ...(values.expires !== undefined && { expires: readExpiry(values.expires) }),
    };
    stdout.write(
      values.json === true ? `${JSON.stringify({ secret, entry }, undefined, 2)}\n` : describe(secret, entry),
    );
    return exitCodes.ok;
  },
};

function readTokenName(text: string | undefined): string {
  if (isTokenName(text)) return text;
  throw new StowageError("INPUT_INVALID", `NAME is ${JSON.stringify(text)}, expected ${tokenNameForm}`);
}

function readAction(text: string): Action {
  const action = actions.find((known) => known === text);
  if (action !== undefined) return action;
  const expected = `${actions.join(", ")} or some of them, joined by commas`;
  throw new StowageError("INPUT_INVALID", `--allow has ${JSON.stringify(text)}, expected ${expected}`);
}

function readPattern(text: string): string {
  if (isPattern(text)) return text;
  const expected = 'a repository name, in which "*" and "**" may stand for parts';
  throw new StowageError("INPUT_INVALID", `--repository is ${JSON.stringify(text)}, expected ${expected}`);
}

function readExpiry(text: string): Date {
  const ms = parseDuration(text);
  const second = 1000;
  const inTime = ms === undefined ? undefined : new Date(Math.floor((Date.now() + ms) / second) * second);
  const time = inTime ?? (isExpiry(text) ? expiryOf(text) : undefined);
  if (time !== undefined && time.getTime() > Date.now()) return time;
  const expected = `a time from now on, such as 90d or 12h, or ${expiryForm}, in the future`;
  throw new StowageError("INPUT_INVALID", `--expires is ${JSON.stringify(text)}, expected ${expected}`);
}

function describe(secret: string, entry: Token): string {
  return `The token "${entry.name}", shown only now:

  ${secret}

Its entry for STOWAGE_TOKENS, a JSON list of such:

  ${JSON.stringify(entry)}
`;
}
