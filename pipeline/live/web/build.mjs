// Bundles the page into dist/, or its tests into .tests/ (with --tests).

import { build } from "esbuild";
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
process.chdir(here);

if (process.argv.includes("--tests")) {
  await rm(".tests", { recursive: true, force: true });
  await build({
    entryPoints: (await readdir("tests")).filter((n) => n.endsWith(".test.ts")).map((n) => join("tests", n)),
    bundle: true,
    platform: "node",
    format: "esm",
    outdir: ".tests",
    outExtension: { ".js": ".mjs" },
    logLevel: "warning",
  });
} else {
  const out = ".dist";
  await rm(out, { recursive: true, force: true });
  await mkdir(out);
  const { metafile } = await build({
    entryPoints: { squall: "src/main.ts", decoder: "src/decoder.ts" },
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2023",
    outdir: out,
    legalComments: "none", // LICENSES.txt has the licences in full
    metafile: true,
    logLevel: "warning",
  });
  await cp("index.html", join(out, "index.html"));
  await cp("icon.svg", join(out, "icon.svg"));
  await writeFile(join(out, "LICENSES.txt"), await licences(Object.keys(metafile.inputs)));
  await rm("dist", { recursive: true, force: true });
  await cp(out, "dist", { recursive: true });
  await rm(out, { recursive: true });
}

/** The licence texts of the packages that are in the bundle. */
async function licences(inputs) {
  const packages = new Set();
  for (const input of inputs) {
    const match = input.match(/node_modules\/((?:@[^/]+\/)?[^/]+)\//);
    if (match) packages.add(match[1]);
  }
  const texts = [];
  for (const name of [...packages].sort()) {
    const folder = join("node_modules", name);
    const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file ? await readFile(join(folder, file), "utf8") : `Licence: ${license}`;
    texts.push(`${name} ${version}\n\n${text.trim()}\n`);
  }
  return texts.join(`\n${"=".repeat(80)}\n\n`);
}
