; A guest that does to its own page tables what a script says, touches memory through them in both rings, and logs what it
; read and every page fault. It starts in flat 32-bit protected mode and switches paging on as the words at 7000h say.
;   nasm -f bin -o paging32.bin paging-guest.asm; nasm -f bin -DLONG -o paging64.bin paging-guest.asm    (in paging-code.ts)
%ifdef LONG
  %define AX_ rax
  %define BX_ rbx
  %define SP_ rsp
  %define IRET_ iretq
  %define W 8
  %define KCODE 0x38
%else
  %define AX_ eax
  %define BX_ ebx
  %define SP_ esp
  %define IRET_ iretd
  %define W 4
  %define KCODE 0x08
%endif
SCRIPT equ 0x20000
LOG    equ 0x40000
STACK  equ 0x7800
        org 0x8000
        bits 32
        lgdt [gdtr]
        mov eax, [0x7000]
        mov cr4, eax
        mov eax, [0x7004]
        mov cr3, eax
        mov ecx, 0xc0000080
        rdmsr
        or eax, [0x7008]
        wrmsr
        mov eax, 0x80010011
        mov cr0, eax
        jmp KCODE:main
%ifdef LONG
        bits 64
%endif
main:   lidt [idtr]
        mov ax, 0x28
        ltr ax
        mov ax, 0x10
        mov ss, ax
        mov ax, 0x23
        mov ds, ax
        mov es, ax
        mov esp, STACK
        mov esi, SCRIPT
        mov edi, LOG
; An element of the script: what, a, b, unused.
next:   mov eax, [esi]
        mov ebx, [esi + 4]
        mov edx, [esi + 8]
        add esi, 16
        cmp eax, (ops_end - ops) / 4
        jae done
        mov eax, [ops + eax * 4]
        jmp AX_
ops:    dd o_read, o_write, o_invlpg, o_cr3, o_wp, o_ac, o_call, o_uread, o_uwrite, o_ujump
ops_end:
o_read: mov eax, [BX_]
        mov [edi], eax
        add edi, 4
        jmp next
o_write: mov [BX_], edx
        jmp next
o_invlpg: invlpg [BX_]
        jmp next
o_cr3:  mov cr3, BX_
        jmp next
o_wp:   mov AX_, cr0
        xor eax, 0x10000
        mov cr0, AX_
        jmp next
o_ac:   pushf
        xor dword [SP_], 0x40000
        popf
        jmp next
o_call: call BX_
        jmp next
o_uread: mov eax, user_read
        jmp user
o_uwrite: mov eax, user_write
        jmp user
o_ujump: mov eax, user_jump
user:   push 0x23
        push STACK
        pushf
        push 0x1b
        push AX_
        IRET_
; #PF: the address and the error code
fault:  pop AX_
        mov [edi + 4], eax
        mov AX_, cr2
        mov [edi], eax
        add edi, 8
        mov esp, STACK
        jmp next
; INT 80h: EAX
back:   mov [edi], eax
        add edi, 4
        mov esp, STACK
        jmp next
done:   xor eax, eax
        out 0xf4, al
        hlt

        align 8
gdt:    dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
%ifdef LONG
        dq 0x00affb000000ffff
%else
        dq 0x00cffb000000ffff
%endif
        dq 0x00cff3000000ffff
        dw 0x67, tss
        db 0, 0x89, 0, 0
        dq 0
        dq 0x00af9b000000ffff
gdtr:   dw gdtr - gdt - 1
        dd gdt
        align 16
%ifdef LONG
tss:    dd 0, STACK, 0
%else
tss:    dd 0, STACK, 0x10
%endif
        times 0x66 - 12 db 0
        dw 0x68
%macro gate 2
        dw %1, KCODE, %2 << 8, 0
%ifdef LONG
        dq 0
%endif
%endmacro
        align 16
idt:    times 14 * 2 * W db 0
        gate fault, 0x8e
        times (0x80 - 15) * 2 * W db 0
        gate back, 0xee
idtr:   dw idtr - idt - 1
        dd idt
        dd 0
        times 0x9000 - 0x8000 - ($ - $$) db 0
; The one page that ring 3 may run.
user_read: mov eax, [BX_]
        int 0x80
user_write: mov [BX_], edx
        int 0x80
user_jump: jmp BX_
