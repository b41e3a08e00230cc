/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Empty: BCC includes this file, but brings by itself what it needs from it. */
