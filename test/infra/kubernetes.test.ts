import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { parseConfig } from "../../src/settings/config.ts";
import { describeIfFound } from "../support/requirement.ts";
import { runTool } from "../tools/run-tool.ts";
import { at, listAt, missingPrograms, projectFolder, readYaml, recordOf } from "./infra-tools.ts";
import { makeToken } from "./make-token.ts";

const file = "infra/kubernetes.yaml";

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
    await runTool("kubernetes-validate", ["--strict", join(projectFolder, file)]);
  });

  it("holds no secret, but names the one that the pods take", () => {
    expect(find("Secret")).toBeUndefined();
    expect(listAt(container(), "envFrom")).toContainEqual({ secretRef: { name: "stowage" } });
    expect(JSON.stringify(at(find("ConfigMap"), "data"))).not.toMatch(/TOKENS|KEY|SECRET|ALLOW_ANYONE/);
  });

  it("has settings that the service takes, together with tokens", () => {
    const { tokens } = makeToken(["pull"]);
    const env = { ...recordOf(at(find("ConfigMap"), "data")), HOST: "0.0.0.0", STOWAGE_TOKENS: tokens };
    expect(parseConfig(env)).toMatchObject({ storeUrl: "s3://my-bucket/images", stopSeconds: 120 });
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
      for (const name of ["hostNetwork", "hostPID", "hostIPC", "volumes"]) expect(at(spec, name)).toBeUndefined();
      expect(at(spec, "automountServiceAccountToken")).toBe(false);
    }
  });

  it("collects garbage once a day, in the same store, and by itself", () => {
    const cronJob = at(find("CronJob"), "spec");
    expect(cronJob).toMatchObject({
      concurrencyPolicy: "Forbid",
      schedule: expect.stringMatching(/^\d+ \d+ \* \* \*$/),
    });
    expect(at(collector(), "containers", 0)).toMatchObject({
      command: ["node", "dist/cli/stowage.js", "gc"],
      image: container("image"),
      envFrom: container("envFrom"),
    });
    const labels = at(cronJob, "jobTemplate", "spec", "template", "metadata", "labels");
    expect(labels).not.toEqual(at(find("Service"), "spec", "selector")); // nobody is sent there
  });

  it("gives a pod the time to finish what runs", () => {
    const stopSeconds = Number(at(find("ConfigMap"), "data", "STOWAGE_STOP_SECONDS"));
    const preStopSeconds = Number(container("lifecycle", "preStop", "sleep", "seconds"));
    expect(pod("terminationGracePeriodSeconds")).toBeGreaterThan(stopSeconds + preStopSeconds);
  });

  it("leads to the pods by the same labels and port", () => {
    const labels = { "app.kubernetes.io/name": "stowage" };
    expect(at(find("Deployment"), "spec", "selector")).toEqual({ matchLabels: labels });
    expect(at(find("Deployment"), "spec", "template", "metadata", "labels")).toEqual(labels);
    expect(at(find("Service"), "spec")).toMatchObject({ selector: labels, ports: [{ targetPort: "http" }] });
    expect(at(find("PodDisruptionBudget"), "spec", "selector")).toEqual({ matchLabels: labels });
    expect(at(find("NetworkPolicy"), "spec", "podSelector")).toEqual({ matchLabels: labels });
    expect(container("ports", 0)).toEqual({ name: "http", containerPort: 8080 });
    expect(container("readinessProbe", "httpGet")).toEqual({ path: "/readyz", port: "http" });
    expect(container("livenessProbe", "httpGet")).toEqual({ path: "/healthz", port: "http" }); // a new pod mends no bucket
  });
});
