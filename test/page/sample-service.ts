/** A service with a page and with images, as a person may find it. */
import type { Hono } from "hono";
import type { Access, Token } from "../../src/auth/access.ts";
import { type AppOptions, createApp, createAppWithPage } from "../../src/http/app.ts";
import { pageOf } from "../../src/page/page.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { Presigner } from "../../src/storage/object-store.ts";
import { sha256 } from "../support/bytes.ts";
import { decorate } from "../support/loading.ts";
import { type Layout, type LayoutOptions, joinLayouts, makeLayout, tarOf } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";

export const secrets = { reader: "reader-secret", writer: "writer-secret" } as const;

/** `reader` may pull what is below `team/`. `writer` may do everything. */
export const tokens: readonly Token[] = [
  { name: "reader", sha256: hexOf(secrets.reader), actions: ["pull"], repositories: ["team/**"] },
  { name: "writer", sha256: hexOf(secrets.writer), actions: ["pull", "load", "delete"], repositories: ["**"] },
];

function hexOf(secret: string): string {
  return sha256(Buffer.from(secret)).replace("sha256:", "");
}

export const hostile = `<script>alert(1)</script>"'&\u202e`;

/** Layers that look like those of a real image, and the steps that made them. */
const layers = [Buffer.alloc(700_000, "base"), Buffer.alloc(90_000, "packages"), Buffer.alloc(12_000, "app")];
const steps = [
  "ADD alpine-minirootfs-3.22.2-x86_64.tar.gz / # buildkit",
  "RUN /bin/sh -c apk add --no-cache ca-certificates tzdata curl && update-ca-certificates && rm -rf /var/cache/apk/* # buildkit",
  "COPY --chown=10001:10001 dist /app # buildkit",
];

const config = {
  created: "2026-11-28T09:30:00Z",
  config: {
    Entrypoint: ["/app/server"],
    Cmd: ["--listen", ":8080"],
    Env: ["PATH=/usr/local/bin:/usr/bin:/bin", "NODE_ENV=production", "TZ=Europe/Berlin"],
    ExposedPorts: { "8080/tcp": {} },
    User: "10001:10001",
    WorkingDir: "/app",
    Labels: { "org.opencontainers.image.source": "https://git.example/team/app", maintainer: "Team App" },
  },
  history: [
    ...steps.map((created_by) => ({ created_by })),
    { created_by: 'CMD ["--listen" ":8080"]', empty_layer: true },
  ],
};

const annotations = {
  "org.opencontainers.image.title": "The app of the team",
  "org.opencontainers.image.revision": "9f2c1e7d0b6a4c8e5f3d2a1b0c9e8d7f6a5b4c3d",
  "org.opencontainers.image.licenses": "Apache-2.0",
};

export const sampleImage: LayoutOptions = { layers, config, manifest: { annotations }, name: "team/app:1.4" };

export interface SampleService {
  readonly app: Hono;
  readonly store: MemoryStore;
  /** Puts an image into the store. */
  readonly load: (image: LayoutOptions | Layout) => Promise<void>;
}

export interface SampleOptions extends Partial<AppOptions> {
  readonly access?: Access;
  /** Makes URLs of the store that browsers can send to. */
  readonly presigner?: Presigner;
}

/** `access` is that of `app`. Loads of `load` need no token. */
export function makeService({ access = "anyone", presigner, ...options }: SampleOptions = {}): SampleService {
  const store = new MemoryStore();
  const layout = openLayout(presigner === undefined ? store : decorate(store, { presigner }));
  const open = createApp({ layout, access: "anyone" });
  return {
    app: createAppWithPage({ layout, access, ...options }, pageOf),
    store,
    load: async (image) => {
      const response = await open.request("/v1/load", {
        method: "PUT",
        body: await tarOf("blobs" in image ? image : makeLayout(image)),
      });
      if (!response.ok) throw new Error(`expected a load, found ${response.status} ${await response.text()}`);
    },
  };
}

/** The image with a signature beside it. */
export function signed(options: LayoutOptions): Layout {
  const image = makeLayout(options);
  const [subject] = image.roots;
  if (subject === undefined) throw new Error("expected a root");
  const artifactType = "application/vnd.dev.cosign.artifact.sig.v1+json";
  const signature = makeLayout({ layers: [Buffer.from("a signature")], manifest: { artifactType }, subject });
  return joinLayouts(image, signature);
}

/** Images of every kind: one platform, several, signed, hostile, without a tag. */
export async function loadSamples({ load }: SampleService): Promise<void> {
  await load(signed(sampleImage));
  await load({ ...sampleImage, platforms: ["linux/amd64", "linux/arm64/v8", "linux/arm/v7"], name: "team/app:latest" });
  await load({ ...sampleImage, label: "other", name: "team/app:1.3" });
  await load({ name: "library/redis:8", layers: [Buffer.alloc(1000)] });
  await load({
    name: "team/hostile:1",
    manifest: { annotations: { [hostile]: hostile } },
    config: { ...config, history: [{ created_by: hostile }], config: { Labels: { [hostile]: hostile } } },
  });
}

/** Gives one image that many names, each in a repository of its own. */
export async function loadMany({ store }: SampleService, count: number): Promise<void> {
  const app = createApp({ layout: openLayout(store), access: "anyone" });
  const body = await tarOf(makeLayout({}));
  for (let i = 0; i < count; i += 1) {
    const name = `many/repository-${String(i).padStart(4, "0")}:1`;
    const response = await app.request(`/v1/load/${name}`, { method: "PUT", body });
    if (!response.ok) throw new Error(`expected a load, found ${response.status}`);
  }
}

/** Asks as a browser does when a person opens a page. */
export async function getPage(app: Hono, path: string, { headers, ...init }: RequestInit = {}): Promise<Response> {
  const sent = new Headers(headers);
  sent.set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");
  return app.request(path, { ...init, headers: sent });
}
