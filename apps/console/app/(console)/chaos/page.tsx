import type { Metadata } from 'next';
import { ChaosPage } from '../../../src/ui/chaos/chaos-page.tsx';

export const metadata: Metadata = { title: 'Chaos' };

export default function Page() {
  return <ChaosPage />;
}
