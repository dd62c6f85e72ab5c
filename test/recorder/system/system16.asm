; Real-address mode: what a processor makes of each case, from the way down out of protected mode on.
;   nasm -f bin -o system16.bin system16.asm
;   qemu-system-x86_64 -kernel system16.bin -display none -serial file:system16.txt -device isa-debug-exit,iobase=0xf4,iosize=4
; The image's own part runs at 0x8000 with all segments 0; cases start with DS = ES = 0x2000, SS = 0x3000, SP = 0x1000, CS = 0.
%include "runner.inc"

%define LOW       0x8000
%define STUB      8             ; bytes of an interrupt stub
%define DATA      0x2000        ; segment of the data a case works on
%define STACK     0x3000
%define TOP       0x1000

        section .text
entry:  cli
        mov     al, 0xff
        out     0x21, al
        out     0xa1, al
        mov     esi, low_image
        mov     edi, LOW
        mov     ecx, low_end - low_start
        rep movsb
        lgdt    [gdtr]
        jmp     0x08:LOW + (to_real - low_start)

        align   4
gdtr:   dw      0x1f
        dd      gdt
        align   8
gdt:    dq      0
%if gdt - header != 0x50
%error low16.asm has another GDT_OFFSET
%endif
        dq      0x00009b000000ffff      ; 16-bit code
        dq      0x000093000000ffff      ; 16-bit data, 64 KiB
        dq      0x00cf93000000ffff      ; flat data
low_image:
        incbin  "low16.bin"
low_start equ   low_image
low_end:
to_real equ     low_image
image_end:
        section .bss
bss_end:
