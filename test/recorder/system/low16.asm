; The part of system16.asm that runs in real-address mode; assembled first: nasm -f bin -o low16.bin low16.asm
        org     0x8000
        bits    16
%define STUB      8
%define DATA      0x2000
%define STACK     0x3000
%define TOP       0x1000
%define COM1      0x3f8
%define EXIT      0xf4
%define GDT_OFFSET 0x50          ; of gdt in system16.asm, which checks it
%define STUBS     0x7000        ; 256 stubs of 8 bytes, made at run time

%assign cases 0
%macro CASE 1
%push case
        [section .table]
        dw      %$name, %$start
        [section .names]
%$name: db      %1, 0
        [section .text]
%$start:
%assign cases cases + 1
case_%[cases]:
%endmacro
%macro END 0
        int     0x80
%pop
%endmacro

        section .text   align=16
        section .table  follows=.text align=2
        section .names  follows=.table align=2

        section .table
case_table:
        section .text
        mov     ax, 0x10
        mov     ds, ax
        mov     es, ax
        mov     fs, ax
        mov     gs, ax
        mov     ss, ax
        mov     eax, cr0
        and     al, 0xfe
        mov     cr0, eax
        jmp     0:.real
.real:  xor     ax, ax
        mov     ds, ax
        mov     es, ax
        mov     fs, ax
        mov     gs, ax
        mov     ss, ax
        mov     sp, 0x6ff0
        lidt    [ivt]
        ; a stub for each vector: push ax; mov al, vector; jmp recorded
        mov     di, STUBS
        xor     cx, cx
.stub:  mov     byte [di], 0x50
        mov     byte [di + 1], 0xb0
        mov     [di + 2], cl
        mov     byte [di + 3], 0xe9
        mov     ax, recorded - 6
        sub     ax, di
        mov     [di + 4], ax
        mov     bx, cx
        shl     bx, 2
        mov     [bx], di
        mov     word [bx + 2], 0
        add     di, STUB
        inc     cx
        cmp     cx, 256
        jb      .stub
        mov     word [next_case], case_table

run_next:
        xor     ax, ax
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     sp, 0x6ff0
        cld
        mov     bx, [next_case]
        cmp     bx, case_table_end
        jae     finish
        lidt    [ivt]
        mov     eax, 0x10
        mov     cr0, eax
        ; patterns: data segment 256 words, stack 64 words below and above the top
        mov     ax, DATA
        mov     es, ax
        xor     di, di
        xor     ax, ax
.data:  stosb
        inc     al
        cmp     di, 512
        jb      .data
        mov     di, 0xfff0
.high:  mov     [es:di], al
        inc     al
        inc     di
        jnz     .high
        mov     ax, STACK
        mov     es, ax
        mov     di, TOP - 64
        mov     cx, 64
        mov     ax, 0x5aa5
        rep stosw
        mov     ax, DATA
        mov     es, ax
        xor     ax, ax
        mov     fs, ax
        mov     gs, ax
        mov     si, [bx + 2]
        sub     si, .after
        mov     [.target], si
        mov     ax, STACK
        mov     ss, ax
        mov     esp, TOP
        mov     ax, DATA
        mov     ds, ax
        push    word 0x0202
        popfw
        mov     eax, 0x11111111
        mov     ecx, 0x22222222
        mov     edx, 0x33333333
        mov     ebx, 0x44440044
        mov     ebp, 0x55550055
        mov     esi, 0x66660010
        mov     edi, 0x77770020
        db      0xe9                    ; jmp to the case, by a displacement made at run time
        dw      0
.after:
.target equ     $ - 2
        nop

finish: mov     si, done
        call    print
        mov     dx, EXIT
        mov     al, 0
        out     dx, al
.stop:  hlt
        jmp     .stop

; AX is on the stack, AL holds the vector. Stack: ax ip cs flags
recorded:
        push    ds
        push    es
        push    fs
        push    gs
        pushad
        mov     bp, sp
        cld
        xor     bx, bx
        mov     ds, bx
        mov     bx, [next_case]
        push    ax
        mov     si, [bx]
        call    print
        pop     ax
        movzx   eax, al
        mov     si, t_vector
        call    field
        movzx   eax, word [bp + 42]
        sub     ax, [bx + 2]
        mov     si, t_ip
        call    field
        movzx   eax, word [bp + 44]
        mov     si, t_cs
        call    field
        movzx   eax, word [bp + 46]
        mov     si, t_flags
        call    field
        lea     eax, [ebp + 48]
        movzx   eax, ax
        mov     si, t_sp
        call    field
        mov     ax, ss
        movzx   eax, ax
        mov     si, t_ss
        call    field
        movzx   eax, word [bp + 28]
        mov     dx, [bp + 40]           ; AX as pushed by the stub
        mov     eax, [bp + 28]
        mov     ax, dx
        mov     edx, 0x11111111
        mov     si, t_ax
        call    changed
        mov     eax, [bp + 24]
        mov     edx, 0x22222222
        mov     si, t_cx
        call    changed
        mov     eax, [bp + 20]
        mov     edx, 0x33333333
        mov     si, t_dx
        call    changed
        mov     eax, [bp + 16]
        mov     edx, 0x44440044
        mov     si, t_bx
        call    changed
        mov     eax, [bp + 8]
        mov     edx, 0x55550055
        mov     si, t_bp
        call    changed
        mov     eax, [bp + 4]
        mov     edx, 0x66660010
        mov     si, t_si
        call    changed
        mov     eax, [bp]
        mov     edx, 0x77770020
        mov     si, t_di
        call    changed
        movzx   eax, word [bp + 38]
        mov     edx, DATA
        mov     si, t_ds
        call    changed
        movzx   eax, word [bp + 36]
        mov     edx, DATA
        mov     si, t_es
        call    changed
        movzx   eax, word [bp + 34]
        xor     edx, edx
        mov     si, t_fs
        call    changed
        mov     eax, cr0
        mov     edx, 0x10
        mov     si, t_cr0
        call    changed
        ; what changed in the data
        mov     ax, DATA
        mov     es, ax
        xor     bx, bx
        xor     dl, dl
.mem:   cmp     [es:bx], dl
        je      .same
        movzx   eax, bx
        mov     si, t_mem
        call    field
        movzx   eax, byte [es:bx]
        mov     si, t_is
        call    field
.same:  inc     dl
        inc     bx
        cmp     bx, 512
        jne     .not
        mov     bx, 0xfff0
.not:   test    bx, bx
        jnz     .mem
        mov     al, 10
        call    putc
        add     word [next_case], 4
        jmp     run_next

field:  push    eax
        call    print
        pop     eax
        push    cx
        mov     cx, 8
.skip:  rol     eax, 4
        test    al, 15
        jnz     .digit
        loop    .skip
        inc     cx
.digit: push    eax
        and     al, 15
        cmp     al, 10
        jb      .dec
        add     al, 'a' - '0' - 10
.dec:   add     al, '0'
        call    putc
        pop     eax
        rol     eax, 4
        loop    .digit
        pop     cx
        ret
changed:
        cmp     eax, edx
        jne     field
        ret
print:  lodsb
        test    al, al
        jz      .done
        call    putc
        jmp     print
.done:  ret
putc:   push    dx
        mov     dx, COM1
        out     dx, al
        pop     dx
        ret

%include "cases16.inc"

        section .table
case_table_end:
        section .names
done:   db      'done', 10, 0
t_vector: db    ' v', 0
t_ip:   db      ' ip', 0
t_cs:   db      ' cs', 0
t_flags: db     ' fl', 0
t_sp:   db      ' sp', 0
t_ss:   db      ' ss', 0
t_ax:   db      ' ax', 0
t_cx:   db      ' cx', 0
t_dx:   db      ' dx', 0
t_bx:   db      ' bx', 0
t_bp:   db      ' bp', 0
t_si:   db      ' si', 0
t_di:   db      ' di', 0
t_ds:   db      ' ds', 0
t_es:   db      ' es', 0
t_fs:   db      ' fs', 0
t_cr0:  db      ' cr0=', 0
t_mem:  db      ' m', 0
t_is:   db      '=', 0
        align   2
ivt:    dw      0x3ff
        dd      0
next_case: dw   0
