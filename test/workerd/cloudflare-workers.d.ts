/** What the suites use of workerd's own module. */
declare module "cloudflare:workers" {
  /** Variables and bindings. */
  export const env: Readonly<Record<string, unknown>>;
}
