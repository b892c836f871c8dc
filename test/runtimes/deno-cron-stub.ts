/** Loaded before a program of Deno: prints what it registers with `Deno.cron`, and triggers it at once. */
import process from "node:process";

const cron = async (name: string, schedule: string, run: () => Promise<void>): Promise<void> => {
  process.stdout.write(`registers "${name}" for ${schedule}\n`);
  const outcome = await run().then(
    () => "was triggered",
    (error: unknown) => `failed: ${String(error)}`,
  );
  process.stdout.write(`${outcome}\n`);
};
Object.defineProperty(Deno, "cron", { value: cron });
