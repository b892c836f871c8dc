/** The style, the script and the icon of the page. Their URLs hold their digests, so that browsers keep them. */
import { createHash } from "node:crypto";
import { type Route, route } from "../http/route.ts";
import { icon } from "./icon.ts";
import { script } from "./script.ts";
import { style } from "./style.ts";

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
