/** The style, the script and the icon of the page. Their URLs hold their digests, so that browsers keep them. */
import { createHash } from "node:crypto";
import { type Route, route } from "../http/route.ts";
import { script } from "./script.ts";
import { style } from "./style.ts";

/** The logo: layers that are stowed. It looks the same on light and on dark. */
const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
<rect width="32" height="32" rx="8" fill="#0d6e61"/>
<g fill="none" stroke="#fff" stroke-width="2.4" stroke-linejoin="round" stroke-linecap="round">
<path d="M16 6.5 26 11.5 16 16.5 6 11.5Z" fill="#fff"/>
<path d="m6 16.5 10 5 10-5" opacity=".85"/>
<path d="m6 21.5 10 5 10-5" opacity=".6"/>
</g>
</svg>
`;

interface Asset {
  readonly file: string;
  readonly type: string;
  readonly text: string;
}

const assets = {
  style: { file: "style.css", type: "text/css; charset=UTF-8", text: style },
  script: { file: "page.js", type: "text/javascript; charset=UTF-8", text: script },
  icon: { file: "icon.svg", type: "image/svg+xml", text: icon },
} as const satisfies Record<string, Asset>;

export function assetRoutes(): readonly Route[] {
  return Object.values(assets).map(({ file, type, text }) =>
    route({
      methods: ["GET"],
      path: `/-/assets/${file}`,
      needs: "nothing",
      query: ["v"],
      answer: (c) =>
        c.body(text, 200, { "Content-Type": type, "Cache-Control": "public, max-age=31536000, immutable" }),
    }),
  );
}

/** The paths of the assets. A changed asset has another path. */
export function assetUrls(base: string): Readonly<Record<keyof typeof assets, string>> {
  const urlOf = ({ file, text }: Asset): string => `${base}/-/assets/${file}?v=${versionOf(text)}`;
  return { style: urlOf(assets.style), script: urlOf(assets.script), icon: urlOf(assets.icon) };
}

function versionOf(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 12);
}
