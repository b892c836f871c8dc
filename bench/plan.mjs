// Which contenders are measured with which tarball and store.
import { print } from "./measuring.mjs";
import { stores } from "./stores.mjs";
import { tarballs } from "./tarballs.mjs";

const pair = "stowage straightforward";
const runtimes = "stowage node24 deno bun";
const registries = "crane regctl skopeo";

const short = {
  sink: { single: pair, mixed: pair },
  sink30: { single: pair, mixed: pair },
};

/** Without what would be ended after its time anyway, and without repetition: it should take 20 minutes. */
const all = {
  sink30: {
    single: `${pair} curl`,
    mixed: `${runtimes} straightforward curl aws`,
    gib: pair,
    images: pair,
    blobs: pair,
  },
  versitygw25: {
    three: `stowage ${registries} curl aws`,
    mixed: "stowage crane curl",
    images: "stowage crane",
    blobs: "stowage crane",
  },
  sink: {
    single: `${pair} curl`,
    mixed: `${runtimes} workerd straightforward curl aws`,
    gib: pair,
    images: pair,
    blobs: `${runtimes} straightforward`,
  },
  versitygw: {
    three: `stowage ${registries} curl`,
    images: "stowage crane",
    again: "stowage openssl",
  },
};

/** These get all their rounds first: a ratio of each is a goal. */
const goals = ["sink30 single", "sink30 mixed", "versitygw25 three", "sink single", "sink mixed", "versitygw again"];

/**
 * The cells of the plan. `stores`, `tarballs` and `contenders` each replace the plan's own choice. Prints what is left out
 * since a program is missing.
 */
export function planCells(options, contenders) {
  const plan = options.all ? all : short;
  const chosen = (kind, known, otherwise) => {
    const names = options[kind]?.split(",") ?? otherwise;
    const unknown = names.filter((name) => !(name in known));
    if (unknown.length === 0) return names;
    throw new Error(`found --${kind} ${unknown.join(",")}, expected of: ${Object.keys(known).join(", ")}`);
  };
  const builds = Object.keys(contenders).filter((name) => name.startsWith("build-"));
  const reasons = new Map();
  const cells = [];
  for (const store of chosen("stores", stores, Object.keys(plan))) {
    const tarballsOfStore = Object.keys(plan[store] ?? all[store] ?? { mixed: "" });
    for (const tarball of chosen("tarballs", tarballs, tarballsOfStore)) {
      const planned = plan[store]?.[tarball] ?? all[store]?.[tarball] ?? "stowage";
      const names = [...new Set([...chosen("contenders", contenders, planned.split(" ")), ...builds])];
      const able = names.filter((name) => {
        if (!contenders[name].takes({ name: tarball, ...tarballs[tarball] }, stores[store])) return false;
        const reason = contenders[name].missing();
        if (reason !== undefined) reasons.set(name, reason);
        return reason === undefined;
      });
      const isGoal = goals.includes(`${store} ${tarball}`);
      if (able.length > 0) cells.push({ store, tarball, contenders: able, isGoal });
    }
  }
  for (const [name, reason] of reasons) print(`left out: ${name}, ${reason}`);
  return cells;
}
