/** The browser that is there, asked to stay silent: no updates, no accounts, no background requests. */
import { existsSync } from 'node:fs';

const PLACES = [
  '/usr/bin/chromium',
  '/usr/bin/google-chrome',
  '/usr/bin/google-chrome-stable',
  '/usr/bin/chromium-browser',
];

const QUIET = [
  '--no-sandbox',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-default-apps',
  '--disable-domain-reliability',
  '--disable-sync',
  '--disable-client-side-phishing-detection',
  '--no-first-run',
  '--no-default-browser-check',
  '--no-pings',
  '--disable-features=OptimizationHints,MediaRouter,Translate,AutofillServerCommunication',
];

export function chromiumOptions(): { executablePath: string; args: string[] } {
  const executablePath = process.env['CHRONON_CHROMIUM'] || PLACES.find((path) => existsSync(path));
  if (executablePath === undefined) throw new Error('no browser: install Debian’s chromium or set CHRONON_CHROMIUM');
  return { executablePath, args: QUIET };
}
