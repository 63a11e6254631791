/** Small building blocks that all pages share. No state. */
import { clsx } from 'clsx';
import type { ComponentProps, ReactNode } from 'react';

export function Panel(props: {
  title: ReactNode;
  meta?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
  className?: string;
  flush?: boolean;
  label?: string;
}) {
  const { title, meta, actions, children, className, flush, label } = props;
  return (
    <section aria-label={label} className={clsx('min-w-0 rounded-lg border border-line bg-surface', className)}>
      <header className="flex min-h-10 flex-wrap items-center gap-x-3 gap-y-1 border-b border-line px-4 py-1.5">
        <h2 className="text-[0.8125rem] font-semibold">{title}</h2>
        {meta && <div className="text-xs text-faint">{meta}</div>}
        {actions && <div className="ml-auto flex items-center gap-2">{actions}</div>}
      </header>
      <div className={flush ? '' : 'p-4'}>{children}</div>
    </section>
  );
}

type ButtonTone = 'plain' | 'primary' | 'danger' | 'ghost';
const BUTTON: Record<ButtonTone, string> = {
  plain: 'border border-line-strong bg-surface hover:bg-raised',
  primary: 'bg-accent text-on-accent hover:opacity-90 border border-transparent',
  danger: 'bg-bad text-on-bad hover:opacity-90 border border-transparent',
  ghost: 'border border-transparent text-muted hover:bg-raised hover:text-text',
};

export function Button(props: ComponentProps<'button'> & { tone?: ButtonTone; size?: 'sm' | 'md' | 'lg' }) {
  const { tone = 'plain', size = 'md', className, type = 'button', ...rest } = props;
  const heights = { sm: 'h-7 px-2 text-xs', md: 'h-8 px-3', lg: 'h-11 px-5 text-sm' };
  return (
    <button
      type={type}
      className={clsx(
        'inline-flex shrink-0 items-center justify-center gap-1.5 rounded-md font-medium whitespace-nowrap transition-colors',
        'disabled:cursor-not-allowed disabled:opacity-50',
        heights[size],
        BUTTON[tone],
        className,
      )}
      {...rest}
    />
  );
}

export type Tone = 'ok' | 'warn' | 'bad' | 'info' | 'mute';

/** A word with a coloured, bordered ground. The word says it; the colour only helps. */
export function Tag({
  tone,
  children,
  title,
  className,
}: {
  tone: Tone;
  children: ReactNode;
  title?: string;
  className?: string;
}) {
  return (
    <span
      title={title}
      className={clsx(
        `tone-${tone} soft inline-flex items-center gap-1 rounded px-1.5 py-px text-xs font-medium whitespace-nowrap`,
        className,
      )}
    >
      {children}
    </span>
  );
}

export function Empty({ title, children, icon }: { title: string; children?: ReactNode; icon?: ReactNode }) {
  return (
    <div className="flex flex-col items-center gap-2 px-6 py-12 text-center">
      {icon && <div className="text-faint">{icon}</div>}
      <p className="font-medium">{title}</p>
      {children && <div className="max-w-prose text-muted">{children}</div>}
    </div>
  );
}

export function Problem({ message, retry }: { message: string; retry?: () => void }) {
  return (
    <div role="alert" className="tone-bad soft m-4 flex items-center gap-3 rounded-md px-3 py-2">
      <span className="min-w-0 flex-1 break-words">{message}</span>
      {retry && (
        <Button size="sm" onClick={retry}>
          Try again
        </Button>
      )}
    </div>
  );
}

/** A page's heading; visible, so that a screenshot says what it shows. */
export function PageTitle({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="flex flex-wrap items-baseline gap-x-3 gap-y-1">
      <h1 className="text-lg font-semibold tracking-tight">{title}</h1>
      {children && <p className="text-muted">{children}</p>}
    </div>
  );
}

/** How much of something is done, 0 to 1; `label` says of what. */
export function Bar({ tone, share, label }: { tone: Tone; share: number; label: string }) {
  return (
    <svg
      viewBox="0 0 1000 4"
      preserveAspectRatio="none"
      className={`tone-${tone} h-1 w-full`}
      role="img"
      aria-label={`${Math.floor(share * 100)} % ${label}`}
    >
      <rect width="1000" height="4" rx="2" fill="var(--line)" />
      <rect width={1000 * share} height="4" rx="2" fill="currentColor" />
    </svg>
  );
}
