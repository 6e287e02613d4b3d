// A headless browser that runs scripts, for tests: `const browser = await launch(process.argv[2])`, where the argument is
// what `.ci/browser` printed.
import { createRequire } from "node:module";

export async function launch(directory) {
  const { chromium } = createRequire(`${directory}/node_modules/`)("playwright-core");
  const own = process.env.GENNAKER_BROWSER;
  return chromium.launch({
    executablePath: own || `${directory}/chromium`,
    // The tests run as whoever runs them, root in many a container: there the sandbox does not start.
    args: ["--no-sandbox", "--disable-gpu", "--no-zygote"],
    env: own ? process.env : { ...process.env, LD_LIBRARY_PATH: `${directory}/lib` },
    timeout: 60_000,
  });
}
