'use client';
import { useEffect, useRef, type ReactNode } from 'react';
import { Button } from './parts.tsx';

/** A question before something destructive. Cancel has the focus; Escape cancels. */
export function Confirm(props: {
  title: string;
  children: ReactNode;
  action: string;
  onConfirm: () => void;
  onClose: () => void;
}) {
  const { title, children, action, onConfirm, onClose } = props;
  const dialog = useRef<HTMLDialogElement>(null);
  const cancel = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    dialog.current?.showModal();
    cancel.current?.focus();
  }, []);
  return (
    <dialog
      ref={dialog}
      onClose={onClose}
      aria-labelledby="confirm-title"
      className="m-auto w-[min(28rem,calc(100vw-2rem))] rounded-lg border border-line bg-surface p-5 text-text shadow-xl"
    >
      <h2 id="confirm-title" className="text-base font-semibold">
        {title}
      </h2>
      <div className="mt-2 text-muted">{children}</div>
      <div className="mt-5 flex justify-end gap-2">
        <Button ref={cancel} onClick={() => dialog.current?.close()}>
          Cancel
        </Button>
        <Button
          tone="danger"
          onClick={() => {
            onConfirm();
            dialog.current?.close();
          }}
        >
          {action}
        </Button>
      </div>
    </dialog>
  );
}
