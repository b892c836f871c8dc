import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { isJsonObject } from "../../src/oci/json.ts";
import { parseConfig } from "../../src/settings/config.ts";
import { describeIfFound } from "../support/requirement.ts";
import { newFolder } from "../support/run-stowage.ts";
import { runTool } from "../tools/run-tool.ts";
import { at, missingPrograms, projectFolder, readYaml, recordOf } from "./infra-tools.ts";
import { makeToken } from "./make-token.ts";

const chart = join(projectFolder, "infra/helm/stowage");

/** What everybody has to set, as infra/kubernetes.yaml has it. */
const needed = {
  image: { repository: "registry.example/stowage" },
  store: "s3://my-bucket/images",
  region: "eu-central-1",
};
const httpRoute = {
  enabled: true,
  parentRefs: [{ name: "public", namespace: "gateways" }],
  hostnames: ["images.acme.example"],
};
const ingress = {
  enabled: true,
  className: "nginx",
  host: "images.acme.example",
  tlsSecret: "images-acme-example-tls",
  annotations: {
    "nginx.ingress.kubernetes.io/proxy-body-size": "0",
    "nginx.ingress.kubernetes.io/proxy-request-buffering": "off",
    "nginx.ingress.kubernetes.io/proxy-http-version": "1.1",
    "nginx.ingress.kubernetes.io/proxy-read-timeout": "21600",
    "nginx.ingress.kubernetes.io/proxy-send-timeout": "21600",
  },
};

/** Values that reach every branch of the templates. */
const valueSets: Readonly<Record<string, object>> = {
  "what is needed": needed,
  "all that can be led to from outside": { ...needed, httpRoute, ingress },
  "as little as possible": {
    ...needed,
    secrets: { tokens: "" },
    settings: { STOWAGE_OIDC: "[]" },
    region: "",
    autoscaling: { enabled: false },
    gc: { enabled: false },
    networkPolicy: { enabled: false },
    serviceAccount: { create: false },
  },
  "an S3 server of one's own, on chosen nodes": {
    ...needed,
    image: { repository: "10.0.0.1:5000/team/stowage", tag: "1.2.3", pullPolicy: "Always", pullSecrets: ["pull"] },
    settings: { AWS_ENDPOINT_URL_S3: "http://s3.storage:8333", STOWAGE_PUBLIC_ENDPOINT_URL_S3: "none" },
    host: "0.0.0.0",
    stopSeconds: 600,
    secrets: { tokens: "mine", keys: "mine-too" },
    serviceAccount: { name: "other", annotations: { "eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x" } },
    autoscaling: { enabled: false },
    replicas: 3,
    networkPolicy: { egressPorts: [443, 8333] },
    nodeSelector: { disk: "fast" },
    tolerations: [{ key: "a", operator: "Exists" }],
    affinity: { nodeAffinity: {} },
    podAnnotations: { "example.com/team": "a" },
  },
};

describeIfFound("infra/helm/stowage", missingPrograms("helm", "kubernetes-validate", "infra-python"), () => {
  it.each(Object.entries(valueSets))("passes helm lint and kubernetes-validate with %s", async (_name, values) => {
    await runTool("helm", ["lint", "--strict", chart, "--values", await write(values)]);
    await runTool("kubernetes-validate", ["--strict", await render(values)]);
  });

  it("makes the objects of infra/kubernetes.yaml", async () => {
    expect(await objectsOf(await render(needed))).toEqual(await objectsOf("infra/kubernetes.yaml"));
  });

  it("makes the route and the Ingress that lie beside it", async () => {
    const objects = await objectsOf(await render({ ...needed, httpRoute, ingress }));
    expect(objects).toMatchObject(await objectsOf("infra/kubernetes-http-route.yaml"));
    expect(objects).toMatchObject(await objectsOf("infra/kubernetes-ingress.yaml"));
  });

  it("gives the pods every setting, and the time that they need to stop", async () => {
    const values = valueSets["an S3 server of one's own, on chosen nodes"] ?? {};
    const objects = await objectsOf(await render(values));
    const pod = at(objects["Deployment/stowage"], "spec", "template", "spec");
    const { tokens } = makeToken(["pull"]);
    const env = { ...recordOf(at(objects["ConfigMap/stowage"], "data")), STOWAGE_TOKENS: tokens }; // a file is not read here
    expect(parseConfig(env)).toMatchObject({ host: "0.0.0.0", stopSeconds: 600, warnings: [] });
    expect(env).toMatchObject({ AWS_ENDPOINT_URL_S3: "http://s3.storage:8333" });
    expect(at(pod, "terminationGracePeriodSeconds")).toBeGreaterThan(605);
    expect(at(pod, "serviceAccountName")).toBe("other");
    expect(at(pod, "imagePullSecrets")).toEqual([{ name: "pull" }]);
    expect(at(pod, "containers", 0, "image")).toBe("10.0.0.1:5000/team/stowage:1.2.3");
    expect(at(pod, "volumes")).toEqual([{ name: "tokens", secret: { secretName: "mine" } }]);
    expect(at(objects["Deployment/stowage"], "spec", "replicas")).toBe(3);
  });

  it("keeps two releases in one namespace apart", async () => {
    const first = await objectsOf(await render(needed, "eu"));
    const second = await objectsOf(await render(needed, "us"));
    expect(Object.keys(first).filter((name) => name in second)).toEqual([]);
    const selector = (objects: Readonly<Record<string, unknown>>, name: string): unknown =>
      at(objects[`Service/${name}-stowage`], "spec", "selector");
    expect(selector(first, "eu")).not.toEqual(selector(second, "us"));
  });

  it.each([
    [{}, "/store"],
    [{ ...needed, store: "file:/data" }, "/store"],
    [{ ...needed, image: { repository: "" } }, "/image/repository"],
    [{ ...needed, stores: "x" }, "stores"],
    [{ ...needed, settings: { STOWAGE_TOKENS: "[]" } }, "STOWAGE_TOKENS"],
    [{ ...needed, settings: { STOWAGE_MAX_LOADS: 5 } }, "STOWAGE_MAX_LOADS"],
    [{ ...needed, httpRoute: { enabled: true } }, "/httpRoute"],
    [{ ...needed, ingress: { enabled: true } }, "/ingress"],
  ])("refuses %j", async (values, named) => {
    await expect(render(values)).rejects.toThrow(named);
  });

  it("says in its notes how to make the tokens, and how clients reach it", async () => {
    const args = ["install", "stowage", chart, "--dry-run=client", "--namespace", "images"];
    const notes = await runTool("helm", [...args, "--values", await write({ ...needed, httpRoute })]);
    expect(notes).toContain("kubectl -n images create secret generic stowage-tokens ");
    expect(notes).toContain("Clients reach it as images.acme.example");
  });

  it("has the version of the service", async () => {
    const version = /"version": "(.+)"/.exec(await readFile(join(projectFolder, "package.json"), "utf8"))?.[1];
    const [about] = await readYaml("infra/helm/stowage/Chart.yaml");
    expect(about).toMatchObject({ version, appVersion: version });
  });
});

async function write(values: object): Promise<string> {
  const file = join(await mkdtemp(join(await newFolder(), "values-")), "values.json");
  await writeFile(file, JSON.stringify(values));
  return file;
}

/** Renders the chart into a file. */
async function render(values: object, release = "stowage"): Promise<string> {
  const file = await write(values);
  const rendered = file.replace(/\.json$/, ".yaml");
  await writeFile(rendered, await runTool("helm", ["template", release, chart, "--values", file]));
  return rendered;
}

/** The objects by kind and name, without the marks that only Helm leaves. */
async function objectsOf(path: string): Promise<Record<string, unknown>> {
  const objects = await readYaml(path);
  const pairs = objects
    .filter(isJsonObject)
    .map((object) => [`${String(object["kind"])}/${String(at(object, "metadata", "name"))}`, object] as const);
  const marks = /^(?:helm\.sh\/chart|checksum\/settings|app\.kubernetes\.io\/(?:version|managed-by))$/;
  const plain: unknown = JSON.parse(JSON.stringify(Object.fromEntries(pairs)), (name, value: unknown) => {
    const isEmpty = isJsonObject(value) && Object.keys(value).length === 0;
    return marks.test(name) || (name === "annotations" && isEmpty) ? undefined : value;
  });
  return isJsonObject(plain) ? plain : {};
}
