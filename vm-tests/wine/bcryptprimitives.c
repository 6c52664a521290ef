/* Random numbers for Rust's standard library, which asks `bcryptprimitives.dll` for them. Wine before 9 has no such library, and no
   program starts without it. Only for tests: it is put into a prefix of theirs. */
#include <windows.h>
#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE to, SIZE_T length)
{
    while (length > 0) {
        ULONG part = length > 0x10000 ? 0x10000 : (ULONG)length;
        if (!RtlGenRandom(to, part))
            return FALSE;
        to += part;
        length -= part;
    }
    return TRUE;
}
