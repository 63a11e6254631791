'use client';
/** Frame of every page: verdict, position and freshness on top, pages at the left (below on a phone). */
import { clsx } from 'clsx';
import { FlaskConical, LayoutDashboard, PackageCheck, Rows3, ShieldCheck } from 'lucide-react';
import Link from 'next/link';
import { usePathname } from 'next/navigation';
import { useEffect, useMemo, type ReactNode } from 'react';
import { useFreshness, useLive } from '../live/live.tsx';
import { count, rate } from '../lib/format.ts';
import { verdict } from '../lib/verdict.ts';
import { Banners } from './banners.tsx';
import { takeFragmentToken, trade } from './fragment-token.ts';
import { FreshnessPill, PauseButton } from './freshness-pill.tsx';
import { Mark } from './mark.tsx';
import { ThemeToggle } from './theme-toggle.tsx';
import { useShortcuts } from './shortcuts.ts';
import { VerdictChip } from './verdict-chip.tsx';

const PAGES = [
  { href: '/', label: 'Overview', icon: LayoutDashboard },
  { href: '/log', label: 'Log', icon: Rows3 },
  { href: '/outbox', label: 'Outbox', icon: PackageCheck },
  { href: '/verify', label: 'Verify', icon: ShieldCheck },
  { href: '/chaos', label: 'Chaos', icon: FlaskConical },
] as const;

export function Shell({ children }: { children: ReactNode }) {
  useShortcuts();
  // A fresh link opened in a browser that has a session: renew it, and keep the token out of the address bar.
  useEffect(() => {
    const token = takeFragmentToken();
    if (token !== null) trade(token).catch(() => {});
  }, []);
  return (
    <div className="flex min-h-dvh flex-col">
      <a
        href="#main"
        className="sr-only focus:not-sr-only focus:absolute focus:top-2 focus:left-2 focus:z-50 focus:rounded-md focus:bg-surface focus:px-3 focus:py-2"
      >
        Skip to the page
      </a>
      <TopBar />
      <div className="flex min-w-0 flex-1">
        <SideRail />
        <main id="main" className="min-w-0 flex-1 pb-20 md:pb-8">
          <Banners />
          <div className="mx-auto flex max-w-[1360px] flex-col gap-4 px-3 py-4 sm:px-5">{children}</div>
        </main>
      </div>
      <BottomBar />
    </div>
  );
}

function TopBar() {
  const { frame } = useLive();
  const now = useMemo(() => verdict(frame), [frame]);
  const { state } = useFreshness();
  const old = state === 'stale' || state === 'offline';
  const clusterId = frame?.replicas.find((r) => r.detail)?.detail?.clusterId;
  return (
    <header className="sticky top-0 z-30 flex h-12 items-center gap-3 border-b border-line bg-surface/95 px-3 backdrop-blur sm:px-4">
      <Link href="/" className="flex items-center gap-2 font-semibold tracking-tight" aria-label="Chronon, overview">
        <Mark />
        <span className="hidden sm:inline">Chronon</span>
      </Link>
      {clusterId && (
        <span title={`cluster ${clusterId}`} className="hidden font-mono text-xs text-faint lg:inline">
          {clusterId.slice(0, 8)}
        </span>
      )}
      {/* What was so when the news stopped is not said as if it were so now. */}
      <VerdictChip level={old ? 'unknown' : now.level} title={old ? `Was: ${now.title}` : now.title} />
      <dl className="hidden items-center gap-4 text-xs md:flex">
        <Fact name="view" value={count(now.view)} extra={now.primary === null ? 'no primary' : `r${now.primary}`} />
        <Fact name="commit" value={count(now.commit)} extra={`${rate(frame?.commitsPerSecond ?? null)}/s`} />
      </dl>
      <div className="ml-auto flex items-center gap-1">
        <FreshnessPill />
        <PauseButton />
        <ThemeToggle />
      </div>
    </header>
  );
}

function Fact({ name, value, extra }: { name: string; value: string; extra: string }) {
  return (
    <div className="flex items-baseline gap-1.5">
      <dt className="text-faint">{name}</dt>
      <dd className="font-mono font-medium">
        {value} <span className="font-normal text-muted">{extra}</span>
      </dd>
    </div>
  );
}

function useActive(): (href: string) => boolean {
  const path = usePathname();
  return (href) => (href === '/' ? path === '/' : path.startsWith(href));
}

function SideRail() {
  const active = useActive();
  return (
    <nav
      aria-label="Pages"
      className="sticky top-12 hidden h-[calc(100dvh-3rem)] w-14 shrink-0 flex-col gap-0.5 border-r border-line bg-surface p-2 md:flex lg:w-44"
    >
      {PAGES.map(({ href, label, icon: Icon }) => (
        <Link
          key={href}
          href={href}
          title={label}
          aria-current={active(href) ? 'page' : undefined}
          className={clsx(
            'flex h-9 items-center gap-2.5 rounded-md px-2.5 font-medium',
            active(href)
              ? 'bg-raised text-text ring-1 ring-line ring-inset'
              : 'text-muted hover:bg-raised hover:text-text',
          )}
        >
          <Icon size={16} aria-hidden className={clsx('shrink-0', active(href) && 'text-accent')} />
          <span className="sr-only lg:not-sr-only">{label}</span>
        </Link>
      ))}
      <p className="mt-auto hidden px-2.5 text-2xs text-faint lg:block">
        <kbd className="font-mono">g</kbd> then <kbd className="font-mono">o l u v c</kbd> to go
        <br />
        <kbd className="font-mono">Space</kbd> pause · <kbd className="font-mono">L</kbd> live
      </p>
    </nav>
  );
}

function BottomBar() {
  const active = useActive();
  return (
    <nav aria-label="Pages" className="fixed inset-x-0 bottom-0 z-30 flex border-t border-line bg-surface md:hidden">
      {PAGES.map(({ href, label, icon: Icon }) => (
        <Link
          key={href}
          href={href}
          aria-current={active(href) ? 'page' : undefined}
          className={clsx(
            'flex h-14 flex-1 flex-col items-center justify-center gap-0.5 text-2xs font-medium',
            active(href) ? 'text-accent' : 'text-muted',
          )}
        >
          <Icon size={18} aria-hidden />
          {label}
        </Link>
      ))}
    </nav>
  );
}
