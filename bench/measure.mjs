// One measurement: a fresh service, warmed up by a small load, takes one tarball.
import { once } from "node:events";
import { figuresOf } from "./measuring.mjs";
import { run } from "./programs.mjs";

export async function measure({ store, contender, tarball, warmUp, prefix, maxSeconds }) {
  const service = { store, prefix, ...(await contender.start?.(store, prefix)) };
  try {
    const load = async (which) => {
      const { command, env = {} } = await contender.command(which, service);
      return run(command, env, maxSeconds);
    };
    // A service is not measured while its code is still being compiled.
    if (service.child !== undefined) await load(warmUp);
    if (tarball.isSecondLoad) await load(tarball);
    await contender.command(tarball, service); // unpacks what has to be unpacked
    const before = { requests: await store.requests(), cpuSeconds: cpuOf(service) };
    const client = await load(tarball);
    const figures = service.child === undefined ? client : figuresOf(service.child.pid);
    const requests = await store.requests();
    if (!client.isCut) await checkIsServed(contender, tarball, service);
    return {
      seconds: client.seconds,
      isCut: client.isCut,
      cpuSeconds: figures.cpuSeconds - before.cpuSeconds,
      clientCpuSeconds: service.child === undefined ? 0 : client.cpuSeconds,
      peakMiB: figures.peakMiB,
      requests: requests === undefined ? undefined : requests - before.requests,
    };
  } finally {
    await stop(service.child);
    store.remove(prefix);
  }
}

function cpuOf({ child }) {
  return child === undefined ? 0 : figuresOf(child.pid).cpuSeconds;
}

/** A store that keeps what it gets serves the image once the client has ended. */
async function checkIsServed(contender, tarball, service) {
  if (!service.store.keeps || contender.manifest === undefined) return;
  const url = contender.manifest(tarball, service);
  const accept = ["manifest.v1", "index.v1"].map((type) => `application/vnd.oci.image.${type}+json`).join(", ");
  const response = await fetch(url, { headers: { Accept: accept } });
  if (!response.ok) throw new Error(`GET ${url} answered ${response.status}, expected 200`);
  const { layers, manifests } = await response.json();
  if (layers === undefined && manifests === undefined) throw new Error(`GET ${url} answered no manifest`);
}

/** `wrangler dev` ends its own processes only if it is asked to end. */
async function stop(child) {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), 2000);
  await once(child, "exit");
  clearTimeout(timer);
}
