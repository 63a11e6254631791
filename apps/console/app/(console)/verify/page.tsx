import type { Metadata } from 'next';
import { VerifyPage } from '../../../src/ui/verify/verify-page.tsx';

export const metadata: Metadata = { title: 'Verify' };

export default function Page() {
  return <VerifyPage />;
}
