/** Clients that show a token and pull, each as its users do it. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { containersEnvironment } from "../tools/containers-storage.ts";
import type { Tool } from "../tools/find-tool.ts";
import { runShell, runTool } from "../tools/run-tool.ts";
import type { Workshop } from "../tools/workshop.ts";

export interface Attempt {
  /** `127.0.0.1:PORT` */
  readonly registry: string;
  readonly repository: string;
  /** Undefined: whoever pulls shows none. */
  readonly password: string | undefined;
}

export interface LoginClient {
  readonly name: string;
  readonly needs: readonly Tool[];
  /** Shows the password and pulls `<repository>:1.4`. Rejects with what the tool says if it does not get in. */
  pull(attempt: Attempt, workshop: Workshop): Promise<unknown>;
  /** What it says of a password that is wrong. */
  readonly onWrongPassword: RegExp;
  /** What it says of a repository that the token is not for. */
  readonly onOtherRepository: RegExp;
}

export const user = "anybody";
/** What the clients say if they have no token. */
export const onNoPassword = /unauthorized|401|authentication required|no basic auth credentials|credential not found/i;
const notAllowed = /Cannot pull from .*other.* does not allow it/;
const unknownToken = /there is no such token/;

export const loginClients: readonly LoginClient[] = [
  {
    name: "docker login and docker pull",
    needs: ["docker", "dockerd"],
    pull: async ({ registry, repository, password }, workshop) => {
      const { docker } = await workshop.puller("containerd");
      const image = `${registry}/${repository}:1.4`;
      await docker("logout", registry);
      if (password !== undefined) await docker("login", "--username", user, "--password", password, registry);
      await docker("pull", "--quiet", image);
      await docker("image", "rm", "--force", image);
    },
    onWrongPassword: /login .*401 Unauthorized/s,
    onOtherRepository: notAllowed,
  },
  {
    name: "podman login and podman pull",
    needs: ["podman"],
    pull: async ({ registry, repository, password }, workshop) => {
      const folder = await workshop.newFolder();
      const authFile = join(folder, "auth.json");
      const env = { ...(await containersEnvironment(folder)), REGISTRY_AUTH_FILE: authFile };
      await writeFile(authFile, "{}"); // without it, podman goes no further
      const login = ["login", "--tls-verify=false", "--username", user, "--password", password ?? "", registry];
      if (password !== undefined) await runTool("podman", login, { env });
      await runTool("podman", ["pull", "--quiet", "--tls-verify=false", `${registry}/${repository}:1.4`], { env });
    },
    onWrongPassword: /login .*invalid username\/password/s,
    onOtherRepository: notAllowed,
  },
  {
    name: "podman pull --creds",
    needs: ["podman"],
    pull: async ({ registry, repository, password }, workshop) => {
      const env = await containersEnvironment(await workshop.newFolder());
      const creds = password === undefined ? [] : ["--creds", `${user}:${password}`];
      const image = `${registry}/${repository}:1.4`;
      await runTool("podman", ["pull", "--quiet", "--tls-verify=false", ...creds, image], { env });
    },
    onWrongPassword: unknownToken,
    onOtherRepository: notAllowed,
  },
  {
    name: "skopeo copy --src-creds",
    needs: ["skopeo"],
    pull: async ({ registry, repository, password }, workshop) => {
      const creds = password === undefined ? ["--src-no-creds"] : ["--src-creds", `${user}:${password}`];
      const image = `docker://${registry}/${repository}:1.4`;
      const options = ["--quiet", "--src-tls-verify=false", ...creds];
      await runTool("skopeo", ["copy", ...options, image, `dir:${await workshop.newFolder()}`]);
    },
    onWrongPassword: unknownToken,
    onOtherRepository: notAllowed,
  },
  {
    name: "crane auth login and crane pull",
    needs: ["crane"],
    pull: async ({ registry, repository, password }, workshop) => {
      const folder = await workshop.newFolder();
      const env = { DOCKER_CONFIG: folder };
      const login = ["auth", "login", registry, "--username", user, "--password", password ?? ""];
      if (password !== undefined) await runTool("crane", login, { env });
      await runTool("crane", ["pull", `${registry}/${repository}:1.4`, join(folder, "image.tar")], { env });
    },
    onWrongPassword: unknownToken,
    onOtherRepository: notAllowed,
  },
  {
    name: "ctr images pull --user",
    needs: ["containerd", "ctr"],
    pull: async ({ registry, repository, password }, workshop) => {
      const env = { CONTAINERD_ADDRESS: await workshop.containerd() };
      const image = `${registry}/${repository}:1.4`;
      const creds = password === undefined ? [] : ["--user", `${user}:${password}`];
      await runTool("ctr", ["images", "pull", "--plain-http", "--snapshotter", "native", ...creds, image], { env });
      await runTool("ctr", ["images", "rm", "--sync", image], { env });
    },
    onWrongPassword: /401 Unauthorized/,
    onOtherRepository: /403 Forbidden/, // it asks by HEAD, so that it sees no message
  },
  {
    name: "oras login and oras cp",
    needs: ["oras"],
    pull: async ({ registry, repository, password }, workshop) => {
      const folder = await workshop.newFolder();
      const env = { DOCKER_CONFIG: folder };
      const login = ["login", "--plain-http", "--username", user, "--password", password ?? "", registry];
      if (password !== undefined) await runTool("oras", login, { env });
      const image = `${registry}/${repository}:1.4`;
      const target = `${join(folder, "layout")}:1.4`;
      await runTool("oras", ["cp", "--from-plain-http", "--to-oci-layout", image, target], { env });
    },
    onWrongPassword: unknownToken,
    onOtherRepository: notAllowed,
  },
  {
    name: "regctl --host … image copy",
    needs: ["regctl"],
    pull: async ({ registry, repository, password }, workshop) => {
      const creds = password === undefined ? "" : `,user=${user},pass=${password}`;
      const host = `reg=${registry},tls=disabled${creds}`;
      const target = `ocidir://${join(await workshop.newFolder(), "layout")}:1.4`;
      await runTool("regctl", ["--host", host, "image", "copy", `${registry}/${repository}:1.4`, target]);
    },
    onWrongPassword: /unauthorized|empty challenge header/,
    onOtherRepository: notAllowed,
  },
  {
    name: "curl -u",
    needs: ["curl"],
    pull: async (attempt) => pullWithCurl(attempt, (password) => `-u ${user}:${password}`),
    onWrongPassword: unknownToken,
    onOtherRepository: notAllowed,
  },
  {
    name: "curl -H",
    needs: ["curl"],
    pull: async (attempt) => pullWithCurl(attempt, (password) => `-H 'Authorization: Bearer ${password}'`),
    onWrongPassword: unknownToken,
    onOtherRepository: notAllowed,
  },
];

async function pullWithCurl(
  { registry, repository, password }: Attempt,
  option: (password: string) => string,
): Promise<void> {
  const options = password === undefined ? "" : option(password);
  await runShell(`curl -sS --fail-with-body ${options} http://${registry}/v2/${repository}/manifests/1.4`);
}
