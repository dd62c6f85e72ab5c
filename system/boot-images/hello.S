# A guest that says hello on its serial port and powers itself off.
        .include "start.inc"

        .text
main:   mov     $hello, %esi
        call    say
        mov     $ACPI_PM1A_CNT, %edx
        mov     $ACPI_S5, %eax
        out     %ax, %dx
1:      cli
        hlt
        jmp     1b

hello:  .asciz  "Hello from a guest: real x86 code, run by KVM.\n"
