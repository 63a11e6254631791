import './globals.css';
import type { Metadata, Viewport } from 'next';
import { cookies } from 'next/headers';
import type { ReactNode } from 'react';

export const metadata: Metadata = { title: { default: 'Chronon', template: '%s · Chronon' }, robots: 'noindex' };
export const viewport: Viewport = {
  width: 'device-width',
  initialScale: 1,
  themeColor: [
    { media: '(prefers-color-scheme: light)', color: '#f3f5f8' },
    { media: '(prefers-color-scheme: dark)', color: '#090b0f' },
  ],
};

/** The theme is a cookie, so that the first byte of the page has the right colours and no script must run before it. */
export default async function RootLayout({ children }: { children: ReactNode }) {
  const theme = (await cookies()).get('chronon_theme')?.value;
  return (
    <html lang="en" {...(theme === 'light' || theme === 'dark' ? { 'data-theme': theme } : {})}>
      <body>{children}</body>
    </html>
  );
}
