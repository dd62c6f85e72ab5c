# A guest that never stops computing and never leaves guest mode by itself: something to schedule, nice, move and kill.
        .include "start.inc"

        .text
main:   mov     $greeting, %esi
        call    say
        xor     %eax, %eax
        xor     %edx, %edx
1:      add     $1, %eax                # a 64-bit count of rounds in EDX:EAX
        adc     $0, %edx
        jmp     1b

greeting: .asciz "busy: counting until I am killed\n"
