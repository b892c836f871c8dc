/** `/-/login` and `/-/logout`: a token goes into a cookie, and out of it. */
import type { Context } from "hono";
import { StowageError } from "../errors.ts";
import { clearSessionCookie, maxSessionSecretBytes, setSessionCookie } from "../http/session-cookie.ts";
import { sendPage } from "./frame.tsx";
import { readForm, requireOwnPage } from "./read-form.ts";
import { type PageService, baseOf } from "./view.ts";

export async function showLogin(c: Context, pages: PageService, problem?: Problem): Promise<Response> {
  const to = problem?.to ?? c.req.query("to") ?? "";
  return sendPage(c, pages, {
    title: "Log in",
    current: "login",
    status: problem?.status,
    body: ({ base }) => (
      <section class="narrow">
        <h1>Log in</h1>
        <p>
          Use your token for this service. It stays in this browser for 12 hours. The operator of the service makes
          tokens with <code>stowage token</code>.
        </p>
        <form method="post" action={`${base}/-/login`} class="stack">
          <input type="hidden" name="to" value={to} />
          {/* Programs that keep passwords want a name beside each. */}
          <input type="text" name="username" autocomplete="username" value="stowage" readonly hidden />
          <label for="token">Token</label>
          <input
            id="token"
            name="token"
            type="password"
            autocomplete="current-password"
            required
            autofocus
            {...(problem !== undefined && { "aria-invalid": "true", "aria-describedby": "problem" })}
          />
          {problem !== undefined && (
            <p id="problem" class="problem" role="alert">
              {problem.message}
            </p>
          )}
          <button class="button primary">Log in</button>
        </form>
      </section>
    ),
  });
}

interface Problem {
  readonly message: string;
  readonly status: number;
  readonly to: string;
}

/** A wrong token costs as much as in any other request, and is logged as in any other request. */
export async function logIn(c: Context, pages: PageService): Promise<Response> {
  const form = await readForm(c, pages);
  const token = form.get("token")?.trim() ?? "";
  const to = form.get("to") ?? "";
  try {
    await check(token, pages);
  } catch (error) {
    if (!(error instanceof StowageError) || !isAboutToken.has(error.code)) throw error;
    c.error = error; // for the log
    const message = error.message.replace("Cannot find the caller", "Cannot log in");
    return showLogin(c, pages, { message, status: 403, to });
  }
  setSessionCookie(c, token);
  return c.redirect(ownPath(c, to), 303);
}

const isAboutToken: ReadonlySet<string> = new Set(["UNAUTHORIZED", "INPUT_INVALID"]);

async function check(token: string, { findCaller }: PageService): Promise<void> {
  const bytes = new TextEncoder().encode(token).length;
  if (bytes > 0 && bytes <= maxSessionSecretBytes) {
    await findCaller(token);
    return;
  }
  const message = `Cannot log in: the token has ${bytes} bytes, expected 1 to ${maxSessionSecretBytes}`;
  throw new StowageError("INPUT_INVALID", message);
}

/** Where the person wanted to go, if that is a page of the service. */
function ownPath(c: Context, to: string): string {
  const base = baseOf(c);
  const { origin } = new URL(c.req.url);
  const isPath = to.startsWith("/") && URL.canParse(to, origin);
  const url = isPath ? new URL(to, origin) : undefined;
  // Not any path: `/..//host` is a path that leads to another host.
  const isOwn = url?.pathname === `${base}/` || url?.pathname.startsWith(`${base}/-/`) === true;
  return url?.origin === origin && isOwn ? url.pathname + url.search : `${base}/`;
}

/** The token itself stays valid: it may be in use elsewhere. */
export function logOut(c: Context): Response {
  requireOwnPage(c);
  clearSessionCookie(c);
  return c.redirect(`${baseOf(c)}/`, 303);
}
