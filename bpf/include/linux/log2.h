/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Empty: BCC includes it and brings what it needs of it itself. */
