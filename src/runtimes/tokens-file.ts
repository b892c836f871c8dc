/**
 * The file of `STOWAGE_TOKENS_FILE`, on Node, Deno and Bun. Requests look whether it has changed, at most once a
 * second. A watcher would miss files that are replaced: editors do so, and Kubernetes with mounted secrets.
 */
import { stat } from "node:fs/promises";
import type { Token } from "../auth/access.ts";
import { warnOfExpiry } from "../auth/describe-access.ts";
import { parseTokens } from "../auth/parse-tokens.ts";
import { messageOf } from "../errors.ts";
import { type NoticeEvent, notice, warning } from "../events.ts";
import { checkSettings, readListFile } from "./list-file.ts";

type ReportNotice = (event: NoticeEvent) => void;

const lookAgainMs = 1000;

/**
 * Returns a function that returns the tokens of the file as it is then. Throws `INPUT_INVALID` if it cannot be used
 * now.
 */
export async function openTokensFile(path: string, report: ReportNotice): Promise<() => Promise<readonly Token[]>> {
  const file = new TokensFile(path, report);
  checkSettings(await file.look());
  return async () => file.tokens();
}

class TokensFile {
  readonly #path: string;
  readonly #report: ReportNotice;
  #tokens: readonly Token[] = [];
  /** Another text if the file has changed. */
  #state = "";
  #lookedMs = 0;
  #looking: Promise<void> | undefined;

  constructor(path: string, report: ReportNotice) {
    this.#path = path;
    this.#report = report;
  }

  /** A request that comes during a look waits for it. */
  async tokens(): Promise<readonly Token[]> {
    if (performance.now() - this.#lookedMs >= lookAgainMs) this.#looking ??= this.#lookAgain();
    await this.#looking;
    return this.#tokens;
  }

  async #lookAgain(): Promise<void> {
    const before = this.#state;
    const problems = await this.look();
    this.#looking = undefined;
    if (this.#state === before) return;
    for (const problem of problems) {
      this.#report(notice("error", `${problem}; the tokens that were read before stay in use`));
    }
    if (problems.length > 0) return;
    this.#report(notice("info", `read ${this.#path} again, it has ${this.#tokens.length} tokens`));
    for (const problem of warnOfExpiry(this.#tokens, Date.now())) this.#report(warning(problem));
  }

  /** Reads the file if it has changed. Returns the problems with it. Then the tokens stay as they were. */
  async look(): Promise<readonly string[]> {
    const file = { name: "STOWAGE_TOKENS_FILE", path: this.#path, parse: parseTokens };
    try {
      const { dev, ino, size, mtimeMs, ctimeMs } = await stat(this.#path);
      const state = [dev, ino, size, mtimeMs, ctimeMs].join();
      if (state === this.#state) return [];
      this.#state = state;
      const { entries, problems } = await readListFile(file);
      if (problems.length === 0) this.#tokens = entries;
      return problems;
    } catch (error) {
      this.#state = messageOf(error);
      return [`${file.name}, ${file.path}: ${messageOf(error)}`];
    } finally {
      this.#lookedMs = performance.now();
    }
  }
}
