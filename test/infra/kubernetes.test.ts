import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { parseConfig } from "../../src/settings/config.ts";
import { describeIfFound } from "../support/requirement.ts";
import { runTool } from "../tools/run-tool.ts";
import { at, listAt, missingPrograms, projectFolder, readYaml, recordOf } from "./infra-tools.ts";
import { readCommands } from "./page.ts";

const file = "infra/kubernetes.yaml";
const page = "infra/kubernetes.md";

describeIfFound(file, missingPrograms("kubernetes-validate", "infra-python"), () => {
  let objects: unknown[] = [];
  beforeAll(async () => {
    objects = await readYaml(file);
  });
  const find = (kind: string): unknown => objects.find((object) => at(object, "kind") === kind);
  const pod = (...path: readonly (string | number)[]): unknown =>
    at(find("Deployment"), "spec", "template", "spec", ...path);
  const collector = (): unknown => at(find("CronJob"), "spec", "jobTemplate", "spec", "template", "spec");
  const container = (...path: readonly (string | number)[]): unknown => pod("containers", 0, ...path);

  it("passes kubernetes-validate", async () => {
    for (const name of [file, "infra/kubernetes-ingress.yaml"]) {
      await runTool("kubernetes-validate", ["--strict", join(projectFolder, name)]);
    }
  });

  it("holds no secret, but names those that the pods take", () => {
    expect(find("Secret")).toBeUndefined();
    expect(pod("volumes")).toEqual([{ name: "tokens", secret: { secretName: "stowage-tokens" } }]);
    expect(listAt(container(), "envFrom")).toContainEqual({ secretRef: { name: "stowage-keys", optional: true } });
    expect(JSON.stringify(at(find("ConfigMap"), "data"))).not.toMatch(/TOKENS|KEY|SECRET|ALLOW_ANYONE/);
  });

  it("has settings that the service takes, with the file of tokens that is mounted", async () => {
    const [{ name, value } = {}] = listAt(container(), "env");
    expect([name, value]).toEqual([
      "STOWAGE_TOKENS_FILE",
      `${String(container("volumeMounts", 0, "mountPath"))}/tokens.json`,
    ]);
    expect((await readCommands(page)).join("\n")).toContain("generic stowage-tokens --from-literal=tokens.json=");
    const env = { ...recordOf(at(find("ConfigMap"), "data")), STOWAGE_TOKENS_FILE: String(value) };
    const openTokensFile = async (): Promise<never> => Promise.reject(new Error("not read here"));
    const config = parseConfig(env, { openTokensFile });
    expect(config).toMatchObject({ storeUrl: "s3://my-bucket/images", stopSeconds: 120, host: "::" });
  });

  // https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
  it("keeps to the Pod Security Standard `restricted`, on a file system that it cannot write to", () => {
    for (const spec of [pod(), collector()]) {
      expect(at(spec, "securityContext")).toMatchObject({
        runAsNonRoot: true,
        seccompProfile: { type: "RuntimeDefault" },
      });
      expect(at(spec, "containers", 0, "securityContext")).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ["ALL"] },
      });
      for (const name of ["hostNetwork", "hostPID", "hostIPC"]) expect(at(spec, name)).toBeUndefined();
      expect(at(spec, "automountServiceAccountToken")).toBe(false);
    }
  });

  it("collects garbage once a day, in the same store, by itself, and never without end", () => {
    const cronJob = at(find("CronJob"), "spec");
    expect(cronJob).toMatchObject({
      concurrencyPolicy: "Forbid",
      schedule: expect.stringMatching(/^\d+ \d+ \* \* \*$/),
    });
    expect(at(cronJob, "jobTemplate", "spec", "activeDeadlineSeconds")).toBeLessThan(24 * 60 * 60);
    expect(at(collector(), "containers", 0)).toMatchObject({
      command: ["node", "dist/cli/stowage.js", "gc"],
      image: container("image"),
    });
    const settings = listAt(collector(), "containers", 0, "envFrom");
    expect(listAt(container(), "envFrom")).toEqual(expect.arrayContaining(settings));
    expect(JSON.stringify(collector())).not.toContain("stowage-tokens"); // gc asks nobody for a token
  });

  it("gives a pod the time to finish what runs", () => {
    const stopSeconds = Number(at(find("ConfigMap"), "data", "STOWAGE_STOP_SECONDS"));
    const preStopSeconds = Number(container("lifecycle", "preStop", "sleep", "seconds"));
    expect(pod("terminationGracePeriodSeconds")).toBeGreaterThan(stopSeconds + preStopSeconds);
  });

  it("leads to the pods of the service alone, and lets all of its pods out", () => {
    const all = { "app.kubernetes.io/name": "stowage", "app.kubernetes.io/instance": "stowage" };
    const service = { ...all, "app.kubernetes.io/component": "service" };
    const gc = { ...all, "app.kubernetes.io/component": "gc" };
    const deployment = at(find("Deployment"), "spec");
    expect(at(deployment, "template", "metadata", "labels")).toEqual(service);
    expect(at(find("CronJob"), "spec", "jobTemplate", "spec", "template", "metadata", "labels")).toEqual(gc);
    expect(at(deployment, "selector")).toEqual({ matchLabels: service });
    expect(at(find("PodDisruptionBudget"), "spec", "selector")).toEqual({ matchLabels: service });
    expect(at(find("Service"), "spec")).toMatchObject({ selector: service, ports: [{ targetPort: "http" }] });
    expect(at(find("NetworkPolicy"), "spec", "podSelector")).toEqual({ matchLabels: all });
    expect(container("ports", 0)).toEqual({ name: "http", containerPort: 8080 });
    expect(container("readinessProbe", "httpGet")).toEqual({ path: "/readyz", port: "http" });
    expect(container("livenessProbe", "httpGet")).toEqual({ path: "/healthz", port: "http" }); // a new pod mends no bucket
  });

  it("leaves the number of pods to the autoscaler", () => {
    expect(at(find("Deployment"), "spec", "replicas")).toBeUndefined();
    expect(at(find("HorizontalPodAutoscaler"), "spec")).toMatchObject({
      scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name: at(find("Deployment"), "metadata", "name") },
      minReplicas: 2,
    });
  });

  it("is led to by a route and an Ingress, for hours and for bodies of any size", async () => {
    const [port] = listAt(find("Service"), "spec", "ports");
    const [route] = await readYaml("infra/kubernetes-http-route.yaml");
    const [rule] = listAt(route, "spec", "rules");
    expect(rule).toEqual({
      backendRefs: [{ name: at(find("Service"), "metadata", "name"), port: at(port, "port") }],
      timeouts: { request: "0s", backendRequest: "0s" },
    });
    const [ingress] = await readYaml("infra/kubernetes-ingress.yaml");
    expect(at(ingress, "spec", "rules", 0, "http", "paths", 0, "backend", "service")).toEqual({
      name: at(find("Service"), "metadata", "name"),
      port: { name: at(port, "name") },
    });
    expect(at(ingress, "metadata", "annotations")).toMatchObject({
      "nginx.ingress.kubernetes.io/proxy-body-size": "0",
      "nginx.ingress.kubernetes.io/proxy-request-buffering": "off",
    });
  });

  it("finds in the page every secret that it names, made before it is applied", async () => {
    const commands = await readCommands(page);
    const applied = commands.findIndex((command) => command.includes("kubectl -n stowage apply"));
    for (const name of ["stowage-tokens", "stowage-keys"]) {
      const made = commands.findIndex((command) => command.includes(`create secret generic ${name} `));
      expect(made, name).toBeGreaterThanOrEqual(0);
      expect(made, name).toBeLessThan(applied);
    }
  });
});
