'use client';
import { Monitor, Moon, Sun } from 'lucide-react';
import { useEffect, useState } from 'react';

type Theme = 'system' | 'light' | 'dark';
const NEXT: Record<Theme, Theme> = { system: 'light', light: 'dark', dark: 'system' };
const ICON = { system: Monitor, light: Sun, dark: Moon };
const YEAR_SECONDS = 31_536_000;

/** System, light, dark. Kept in a cookie that the server reads; no session data. */
export function ThemeToggle() {
  const [theme, setTheme] = useState<Theme>('system');
  useEffect(() => setTheme((document.documentElement.dataset.theme as Theme | undefined) ?? 'system'), []);
  const Icon = ICON[theme];
  const change = () => {
    const next = NEXT[theme];
    setTheme(next);
    if (next === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    document.cookie = `chronon_theme=${next}; Path=/; SameSite=Strict; Max-Age=${YEAR_SECONDS}`;
    window.dispatchEvent(new Event('chronon-theme'));
  };
  return (
    <button
      type="button"
      onClick={change}
      aria-label={`Theme: ${theme}. Change to ${NEXT[theme]}`}
      title={`Theme: ${theme}`}
      className="inline-flex size-7 items-center justify-center rounded-md text-muted hover:bg-raised hover:text-text"
    >
      <Icon size={14} aria-hidden />
    </button>
  );
}
