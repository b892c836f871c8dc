/** The frame around each page: head, navigation and foot. */
import type { Child } from "hono/jsx";
import type { Context } from "hono";
import type { HtmlEscapedString } from "hono/utils/html";
import type { Service } from "../http/service.ts";
import { assetUrls } from "./assets.ts";
import { type View, viewOf } from "./view.ts";

interface Framed {
  readonly title: string;
  readonly body: (view: View) => Child;
  readonly status?: number | undefined;
  /** The page that is marked in the navigation. */
  readonly current?: "repositories" | "upload" | "login" | undefined;
  /** An origin beside the service's own that scripts may send to. */
  readonly connectTo?: string | undefined;
}

/** Answers with a page. A large page waits for memory as other large answers do. */
export async function sendPage(c: Context, { answers }: Pick<Service, "answers">, page: Framed): Promise<Response> {
  const html = renderPage(c, page);
  const headers = htmlHeaders(page.connectTo);
  const { status } = page;
  return answers.sendText(c, async () => ({
    maxBytes: Buffer.byteLength(html),
    text: () => html,
    status,
    headers,
  }));
}

/** The headers of every page. Nothing of another site is loaded, no other site shows the page, and no page is kept. */
export function htmlHeaders(connectTo?: string): Record<string, string> {
  const policy = [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    `connect-src 'self'${connectTo === undefined ? "" : ` ${connectTo}`}`,
    "form-action 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
  ];
  return {
    "Content-Type": "text/html; charset=UTF-8",
    "Content-Security-Policy": policy.join("; "),
    "Cache-Control": "no-store",
  };
}

/** The text of a page. */
export function renderPage(c: Context, { title, body, current }: Framed): string {
  const view = viewOf(c);
  const { base } = view;
  const assets = assetUrls(base);
  const page = (
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>{title === "Stowage" ? title : `${title} · Stowage`}</title>
        <link rel="icon" href={assets.icon} type="image/svg+xml" />
        <link rel="stylesheet" href={assets.style} />
        <script src={assets.script} defer></script>
      </head>
      <body>
        <a class="skip" href="#content">
          Skip to the content
        </a>
        <header class="top">
          <div class="wide">
            <a class="brand" href={`${base}/`}>
              <img src={assets.icon} alt="" width="28" height="28" />
              <span>Stowage</span>
            </a>
            <Navigation view={view} current={current} />
          </div>
        </header>
        <main id="content" class="wide">
          {body(view)}
        </main>
      </body>
    </html>
  );
  return `<!doctype html>${textOf(page)}`;
}

/** Hono gives a promise only for components that wait, and none here does. */
function textOf(element: HtmlEscapedString | Promise<HtmlEscapedString>): string {
  if (typeof element === "string" || !(element instanceof Promise)) return element.toString();
  throw new TypeError("expected components that do not wait");
}

function Navigation({ view, current }: { readonly view: View; readonly current: Framed["current"] }): Child {
  const { base, caller, mayLoad, mayLogIn, mayLogOut } = view;
  const link = (name: Framed["current"], path: string, text: string): Child => (
    <a href={`${base}${path}`} {...(name === current && { "aria-current": "page" })}>
      {text}
    </a>
  );
  return (
    <nav aria-label="Main">
      {link("repositories", "/", "Repositories")}
      {mayLoad && link("upload", "/-/upload", "Upload")}
      {mayLogIn && link("login", "/-/login", "Log in")}
      {caller !== undefined && (
        <span class="caller" title="The name of your token">
          {caller}
        </span>
      )}
      {mayLogOut && (
        <form method="post" action={`${base}/-/logout`}>
          <button class="quiet">Log out</button>
        </form>
      )}
    </nav>
  );
}
