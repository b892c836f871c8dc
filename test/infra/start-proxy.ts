/** Starts nginx or Caddy with the file in infra/ as it is, but on loopback, for a user without rights, with a certificate of its own. */
import { mkdir, mkdtemp, readFile, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runTool } from "../tools/run-tool.ts";
import { startService } from "../tools/start-service.ts";
import { freePort } from "./free-port.ts";
import { projectFolder } from "./infra-tools.ts";

export type ProxyKind = "nginx" | "caddy";

export const proxyFiles = { nginx: "infra/nginx.conf", caddy: "infra/Caddyfile" } as const;

export interface Proxy {
  /** Under the name in the file. */
  readonly url: string;
  readonly port: number;
  /** By which clients know it. */
  readonly certificate: string;
  /** Its output, and its log of errors and warnings: nginx warns when it writes a body or an answer to disk. */
  readonly log: () => Promise<string>;
  readonly stop: () => Promise<void>;
}

export interface ProxyOptions {
  readonly upstreamPort: number;
  /** Directives of nginx in place of its own defaults. */
  readonly defaults?: string;
}

export async function startProxy(kind: ProxyKind, { upstreamPort, defaults = "" }: ProxyOptions): Promise<Proxy> {
  const folder = await mkdtemp(join(tmpdir(), "stowage-proxy-")); // goes with the proxy
  const place: Place = { folder, upstreamPort, defaults, port: await freePort(), httpPort: await freePort() };
  await mkdir(join(folder, "buffers"));
  await makeCertificate(folder);
  const file = await configure(kind, place);
  const service = await startService({
    folder,
    command: commands[kind](file, folder),
    env: { HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
    ready: async () => ((await accepts(place.port)) ? "ready" : undefined),
  });
  return {
    url: `https://stowage.example:${place.port}`,
    port: place.port,
    certificate: await readFile(join(folder, "cert.pem"), "utf8"),
    log: async () => service.output() + (await readFile(join(folder, "error.log"), "utf8").catch(() => "")),
    stop: service.stop,
  };
}

const commands: Readonly<Record<ProxyKind, (file: string, folder: string) => [string, ...string[]]>> = {
  nginx: (file, folder) => ["nginx", "-p", folder, "-c", file, "-g", "daemon off;"],
  caddy: (file) => ["caddy", "run", "--adapter", "caddyfile", "--config", file],
};

interface Place {
  readonly folder: string;
  readonly upstreamPort: number;
  readonly defaults: string;
  readonly port: number;
  readonly httpPort: number;
}

/** Writes the file with the places of this machine in it. */
async function configure(kind: ProxyKind, place: Place): Promise<string> {
  let text = await readFile(join(projectFolder, proxyFiles[kind]), "utf8");
  for (const [from, to] of changes[kind](place)) {
    if (!text.includes(from)) throw new Error(`Cannot change ${proxyFiles[kind]}: expected ${JSON.stringify(from)}`);
    text = text.replaceAll(from, to);
  }
  const file = join(place.folder, "proxy.conf");
  await writeFile(file, text);
  return file;
}

type Changes = readonly (readonly [string, string])[];

const changes: Readonly<Record<ProxyKind, (place: Place) => Changes>> = {
  nginx: ({ folder, upstreamPort, defaults, port, httpPort }) => {
    const kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    const buffers = kinds.map((name) => `${name}_temp_path ${folder}/buffers/${name};`).join(" ");
    return [
      ["user www-data;", "user root;"], // it counts for root alone, whose folder others cannot enter
      ["/run/", `${folder}/`],
      ["/var/log/nginx/error.log;", `${folder}/error.log warn;`],
      ["/var/log/nginx/", `${folder}/`],
      ["/etc/letsencrypt/live/stowage.example/fullchain.pem", `${folder}/cert.pem`],
      ["/etc/letsencrypt/live/stowage.example/privkey.pem", `${folder}/key.pem`],
      ["    listen [::]:80;\n", ""], // a machine may have no IPv6
      ["    listen [::]:443 ssl;\n", ""],
      ["listen 80;", `listen 127.0.0.1:${httpPort};`],
      ["listen 443 ssl;", `listen 127.0.0.1:${port} ssl;`],
      ["127.0.0.1:8080", `127.0.0.1:${upstreamPort}`],
      ["http {", `http {\n  ${buffers}\n  ${defaults}`],
    ];
  },
  caddy: ({ folder, upstreamPort, port }) => [
    ["\tservers {", `\tadmin off\n\tauto_https disable_redirects\n\tservers {`],
    [
      "\nstowage.example {",
      `\nhttps://stowage.example:${port} {\n\tbind 127.0.0.1\n\ttls ${folder}/cert.pem ${folder}/key.pem`,
    ],
    ["127.0.0.1:8080", `127.0.0.1:${upstreamPort}`],
  ],
};

async function makeCertificate(folder: string): Promise<void> {
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key.pem"];
  const name = ["-subj", "/CN=stowage.example", "-addext", "subjectAltName=DNS:stowage.example"];
  await runTool("openssl", ["req", "-x509", ...key, "-out", "cert.pem", "-days", "2", ...name], { cwd: folder });
}

async function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.end(() => resolve(true)));
    socket.on("error", () => resolve(false));
  });
}
